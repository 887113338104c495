import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "/console/",
  cacheDir: ".vite",
  plugins: [react()],
  build: {
    outDir: "../api/dist",
    emptyOutDir: true,
    target: "es2022",
    // Nothing is put into the page or the style sheet itself: the policy of the API's answers would refuse it.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
  },
  // `npm run dev`, beside an API that runs: GREENROOM_API=http://127.0.0.1:8080 npm run dev
  server: {
    proxy: Object.fromEntries(
      ["/v1", "^/console/(login|logout|me|rooms|view|speech|operator)", "^/console/avatars/.+/portrait"].map((path) => [
        path,
        process.env.GREENROOM_API ?? "http://127.0.0.1:8080",
      ]),
    ),
  },
});
