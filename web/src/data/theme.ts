/** Dark or light: as the system has it, until somebody says otherwise. */

import { useEffect, useState } from "react";

export type Theme = "light" | "dark";

const KEPT = "greenroom.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function wanted(): Theme {
  const kept = localStorage.getItem(KEPT);
  return kept === "dark" || kept === "light" ? kept : system.matches ? "dark" : "light";
}

export function applyTheme(theme = wanted()): void {
  document.documentElement.dataset.theme = theme;
}

export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState(wanted);
  useEffect(() => applyTheme(theme), [theme]);
  useEffect(() => {
    const changed = () => setTheme(wanted());
    system.addEventListener("change", changed);
    return () => system.removeEventListener("change", changed);
  }, []);
  const swap = () => {
    const other = theme === "dark" ? "light" : "dark";
    localStorage.setItem(KEPT, other);
    setTheme(other);
  };
  return [theme, swap];
}
