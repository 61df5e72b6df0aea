/**
 * Counts what is asked of WebGPU, by wrapping its own methods: ours and the rivals are counted alike, whatever they call
 * themselves. Left out: textures, render passes and timestamp queries, which no contestant uses.
 */

export interface GpuCounts {
  dispatches: number;
  /** Of work; empty ones only nudge a browser. */
  submits: number;
  /** Buffers mapped for reading. */
  readBacks: number;
  uploadedBytes: number;
  readBytes: number;
  /** Of all buffers bound, summed over the dispatches: what kernels may read and write if each buffer is one tensor. */
  boundBytes: number;
  /** Of buffers not destroyed yet, and the most there ever was. */
  liveBytes: number;
  peakBytes: number;
}

const noCounts = (): GpuCounts => ({
  dispatches: 0,
  submits: 0,
  readBacks: 0,
  uploadedBytes: 0,
  readBytes: 0,
  boundBytes: 0,
  liveBytes: 0,
  peakBytes: 0,
});

/** Who is counted: contestants take turns, so one account is open at a time. Buffers stay with whoever made them. */
let account = noCounts();
const owners = new WeakMap<GPUBuffer, GpuCounts>();
const groupBytes = new WeakMap<GPUBindGroup, number>();
const passBytes = new WeakMap<GPUComputePassEncoder, number[]>();

/** Replaces methods of a prototype by ones that call `before` first. */
function observe<Name extends string, Owner extends Record<Name, (...args: never[]) => unknown>>(
  owner: Owner,
  name: Name,
  before: (self: Owner, args: Parameters<Owner[Name]>) => void,
): void {
  const original = owner[name];
  Object.defineProperty(owner, name, {
    configurable: true,
    writable: true,
    value: function (this: Owner, ...args: Parameters<Owner[Name]>): unknown {
      before(this, args);
      return Reflect.apply(original, this, args);
    },
  });
}

/** As `observe`, for methods that make something. */
function observeMaking<Name extends string, Owner extends Record<Name, (...args: never[]) => object>>(
  owner: Owner,
  name: Name,
  after: (made: ReturnType<Owner[Name]>, args: Parameters<Owner[Name]>) => void,
): void {
  const original: (...args: Parameters<Owner[Name]>) => object = owner[name];
  Object.defineProperty(owner, name, {
    configurable: true,
    writable: true,
    value: function (this: Owner, ...args: Parameters<Owner[Name]>): unknown {
      const made = Reflect.apply(original, this, args) as ReturnType<Owner[Name]>;
      after(made, args);
      return made;
    },
  });
}

/** `size` counts elements of typed arrays and bytes of everything else. */
function writtenBytes(data: ArrayBufferView | ArrayBufferLike, offset = 0, size?: number): number {
  const unit = "BYTES_PER_ELEMENT" in data ? Number(data.BYTES_PER_ELEMENT) : 1;
  return size === undefined ? data.byteLength - offset * unit : size * unit;
}

function bindingBytes(resource: GPUBindingResource): number {
  if ("destroy" in resource && "size" in resource) return resource.size;
  if (!("buffer" in resource)) return 0;
  return resource.size ?? resource.buffer.size - (resource.offset ?? 0);
}

let isInstalled = false;

/** Wraps WebGPU's methods, once; does nothing where there is no WebGPU. */
export function installGpuCounter(): void {
  if (isInstalled || !("GPUDevice" in globalThis)) return;
  isInstalled = true;
  observeMaking(GPUDevice.prototype, "createBuffer", (buffer, [{ size, mappedAtCreation }]) => {
    owners.set(buffer, account);
    account.liveBytes += size;
    account.peakBytes = Math.max(account.peakBytes, account.liveBytes);
    if (mappedAtCreation === true) account.uploadedBytes += size;
  });
  observe(GPUBuffer.prototype, "destroy", (buffer) => {
    const owner = owners.get(buffer);
    if (owner !== undefined) owner.liveBytes -= buffer.size;
    owners.delete(buffer);
  });
  observe(GPUBuffer.prototype, "mapAsync", (buffer, [mode, offset = 0, size = buffer.size - offset]) => {
    if ((mode & GPUMapMode.READ) === 0) {
      account.uploadedBytes += size;
      return;
    }
    account.readBacks += 1;
    account.readBytes += size;
  });
  observe(GPUQueue.prototype, "submit", (_, [buffers]) => {
    if ([...buffers].length > 0) account.submits += 1;
  });
  observe(GPUQueue.prototype, "writeBuffer", (_, [, , data, offset, size]) => {
    account.uploadedBytes += writtenBytes(data as ArrayBufferView, offset, size);
  });
  observeMaking(GPUDevice.prototype, "createBindGroup", (group, [{ entries }]) => {
    let bytes = 0;
    for (const { resource } of entries) bytes += bindingBytes(resource);
    groupBytes.set(group, bytes);
  });
  observe(GPUComputePassEncoder.prototype, "setBindGroup", (pass, [index, group]) => {
    const bound = passBytes.get(pass) ?? [];
    bound[index] = group == null ? 0 : (groupBytes.get(group) ?? 0);
    passBytes.set(pass, bound);
  });
  const dispatched = (pass: GPUComputePassEncoder): void => {
    account.dispatches += 1;
    for (const bytes of passBytes.get(pass) ?? []) account.boundBytes += bytes ?? 0;
  };
  observe(GPUComputePassEncoder.prototype, "dispatchWorkgroups", dispatched);
  observe(GPUComputePassEncoder.prototype, "dispatchWorkgroupsIndirect", dispatched);
}

/** A new account; what happens from `open` on is counted in it, until another one is opened. */
export function createAccount(): { open(): void; readonly counts: GpuCounts; reset(): void } {
  const own = noCounts();
  return {
    counts: own,
    open() {
      account = own;
    },
    /** Forgets the counts, but not the buffers. */
    reset() {
      const { liveBytes, peakBytes } = own;
      Object.assign(own, noCounts(), { liveBytes, peakBytes });
    },
  };
}
