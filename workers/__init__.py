"""The worker: joins the customer's room, hears the agent and publishes a talking face."""
