import { defineConfig } from "vite";

const SERVICE = "http://127.0.0.1:3000"; // what `npm run dev` asks

export default defineConfig({
  base: "./", // so that the page works below any path of a proxy
  build: {
    outDir: "../static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: { "/v1": SERVICE, "/readyz": SERVICE } },
});
