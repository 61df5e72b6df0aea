/** onnxruntime-web's module. In the published package the module itself is in this file's place (scripts/build.ts). */

/// <reference path="./ort-module.d.ts" />

import factory from "onnxruntime-web/ort-wasm-simd-threaded.mjs";
import type { OrtFactory } from "./module.ts";

const ort: OrtFactory = factory;
export default ort;
