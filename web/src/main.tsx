import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Router } from "wouter";
import { App } from "./app";
import { loadAgain } from "./data/again";
import { client } from "./data/queries";
import { applyTheme } from "./data/theme";
import "./styles.css";

applyTheme();

addEventListener("vite:preloadError", () => void loadAgain());

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <Router base="/console">
        <App />
      </Router>
    </QueryClientProvider>
  </StrictMode>,
);
