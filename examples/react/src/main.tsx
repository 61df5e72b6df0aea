import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App.tsx";

const query = new URLSearchParams(location.search);
const engine = query.get("engine");
const root = document.querySelector("#root");
if (root === null) throw new Error("index.html has no #root");

createRoot(root).render(
  <StrictMode>
    <App session={query.get("session") ?? ""} engine={engine === "webgpu" || engine === "wasm" ? engine : "auto"} />
  </StrictMode>,
);
