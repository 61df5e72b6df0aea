/**
 * A WebGPU device in Node: Dawn (npm `webgpu`) on SwiftShader, both of which come with Debian's Chromium. Where they are
 * missing this throws, and says what to install: a test without a GPU is no test (invariant I8).
 */

import { existsSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { requestWebGpu, type WebGpuDevice } from "../../client/engine/webgpu/engine.ts";

/** Folders of Chromium and Chrome that hold SwiftShader and a Vulkan loader. */
const FOLDERS = ["/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome", "/opt/chromium.org/chromium"];
const ICD = "vk_swiftshader_icd.json";
const LOADER = "libvulkan.so.1";

/** glibc's RTLD_NODELETE: the library stays although it is no Node add-on. */
const RTLD_NODELETE = 0x1000;

function findSwiftShader(): string {
  const folder = FOLDERS.find((path) => existsSync(join(path, ICD)));
  if (folder !== undefined) return folder;
  throw new Error(
    `WebGPU tests need SwiftShader: no ${ICD} in ${FOLDERS.join(", ")}. Install it: apt-get install chromium`,
  );
}

/** Dawn asks for the Vulkan loader by name; the browser's own copy is found once it is in the process. */
function loadVulkan(folder: string): void {
  try {
    process.dlopen({ exports: {} }, join(folder, LOADER), constants.dlopen.RTLD_NOW | RTLD_NODELETE);
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes("self-register")) throw error;
  }
}

let gpu: GPU | undefined;

/** Dawn's `navigator.gpu`; its classes and constants become globals, as in a browser. */
export async function openGpu(): Promise<GPU> {
  if (gpu !== undefined) return gpu;
  const folder = findSwiftShader();
  process.env.VK_ICD_FILENAMES = join(folder, ICD);
  loadVulkan(folder);
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  gpu = create([]);
  return gpu;
}

export async function openDevice(): Promise<WebGpuDevice> {
  const found = await requestWebGpu(await openGpu());
  if (found === null) throw new Error("Dawn found no adapter although SwiftShader is there");
  return found;
}
