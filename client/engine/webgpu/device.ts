/** Finds a WebGPU device and asks for all that its adapter has. */

/** A device and what to tell people about it. */
export interface WebGpuDevice {
  readonly device: GPUDevice;
  /** Adapter description, such as "NVIDIA lovelace" or "SwiftShader (software)". */
  readonly description: string;
  /** Tells this adapter from others: what is measured of it is remembered by this. */
  readonly adapter: string;
  /** A software adapter: it has few cores, and WASM may well be faster. */
  readonly fallback: boolean;
  /** Its threads read each other's registers within a subgroup, and know which one they are in. */
  readonly subgroups: boolean;
}

/** Limits that the engine makes use of; WebGPU's defaults are far below what adapters have. */
const WANTED_LIMITS = [
  "maxStorageBufferBindingSize",
  "maxBufferSize",
] as const satisfies readonly (keyof GPUSupportedLimits)[];

function describe({ info }: GPUAdapter, fallback: boolean): string {
  const name = info.description || [info.vendor, info.architecture].filter((part) => part !== "").join(" ");
  return `${name || "WebGPU"}${fallback ? " (software)" : ""}`;
}

const keyOf = ({ info: { vendor, architecture, device, description } }: GPUAdapter): string =>
  [vendor, architecture, device, description].join("|");

const SUBGROUPS = "subgroups" satisfies GPUFeatureName;

/** Older browsers have the feature without numbers of subgroups, and with those missing nobody knows who shares a workgroup's. */
const offersSubgroups = ({ wgslLanguageFeatures }: GPU, { features }: GPUAdapter): boolean =>
  features.has(SUBGROUPS) && wgslLanguageFeatures.has("subgroup_id");

/** Null where there is no adapter. Rejects if the adapter gives no device. */
export async function requestWebGpu(gpu: GPU): Promise<WebGpuDevice | null> {
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) return null;
  const requiredLimits = Object.fromEntries(WANTED_LIMITS.map((name) => [name, adapter.limits[name]]));
  const subgroups = offersSubgroups(gpu, adapter);
  const device = await adapter.requestDevice({ requiredLimits, requiredFeatures: subgroups ? [SUBGROUPS] : [] });
  // Older browsers do not say.
  const fallback = adapter.info.isFallbackAdapter ?? false;
  return { device, description: describe(adapter, fallback), adapter: keyOf(adapter), fallback, subgroups };
}
