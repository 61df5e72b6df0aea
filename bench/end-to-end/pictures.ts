/** MNIST as the pages of this section load it: pixels and classes, a byte each. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { valuesOf } from "../harness/mnist.ts";
import type { Files } from "./page/trainer.ts";
import type { TabHouse } from "./tabs.ts";

export const FILES: Files = {
  images: "/images.bin",
  labels: "/labels.bin",
  testImages: "/testImages.bin",
  testLabels: "/testLabels.bin",
};

/** Puts them beside the pages' scripts. */
export function servePictures({ page }: TabHouse, names: readonly (keyof Files)[]): void {
  for (const name of names) writeFileSync(join(page.folder, FILES[name]), valuesOf(name));
}
