import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Router } from "wouter";
import { App } from "./app";
import { client } from "./data/queries";
import { applyTheme } from "./data/theme";
import "./styles.css";

applyTheme();

// Files of another build are asked for by a page that was open while the console was built anew.
addEventListener("vite:preloadError", () => location.reload());

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <Router base="/console">
        <App />
      </Router>
    </QueryClientProvider>
  </StrictMode>,
);
