/** What clients saw of a training, and what in it must not be: a version or a step that falls, or weights that come twice. */

export interface Heard {
  readonly what: "weights" | "progress";
  readonly step: number;
  readonly version: number;
}

export class Witness {
  /** What should not have been. */
  readonly complaints: string[] = [];
  /** Steps at whose weights somebody was. */
  readonly steps = new Set<number>();
  /** Updates by version: who computes at the same version computes at the same weights. */
  readonly #stepOf = new Map<number, number>();

  /** Everything that one client hears goes to the function that this answers. */
  client(name: string): (heard: Heard) => void {
    const last: Partial<Record<Heard["what"], Heard>> = {};
    return (heard) => {
      const { what, step, version } = heard;
      const before = last[what];
      const isBehind =
        before !== undefined &&
        (step < before.step || version < before.version || (what === "weights" && version === before.version));
      if (isBehind) {
        this.complaints.push(
          `${name}: ${what} of step ${step}, version ${version}, after step ${before.step}, version ${before.version}`,
        );
      }
      last[what] = heard;
      if (what !== "weights") return;
      this.steps.add(step);
      const known = this.#stepOf.get(version);
      if (known !== undefined && known !== step) {
        this.complaints.push(`${name}: version ${version} is of step ${step}, somebody else's of step ${known}`);
      }
      this.#stepOf.set(version, step);
    };
  }
}
