/** `commonweight dataset push`: its arguments, and what it says of the data. */

import { type Command, InvalidArgumentError, Option } from "commander";
import { parseManifest } from "../../shared/session/manifest.ts";
import { type AccessOptions, openApi } from "../access.ts";
import { createCommand, dataOption, pairOf, serverOption, whole } from "../arguments.ts";
import { cutDataset, readImageSet } from "../dataset.ts";
import { CliError, messageOf } from "../errors.ts";
import { plain } from "../foreign-text.ts";
import { importNpy, importNpz } from "../importers/arrays.ts";
import { importImages } from "../importers/images.ts";
import { classEnding, type Imported, snippet } from "../importers/imported.ts";
import { importLabelledText } from "../importers/labelled-text.ts";
import { type Fractions, parseFractions } from "../importers/split.ts";
import { COLUMN_TYPES, type ColumnType, importCsv } from "../importers/table.ts";
import { importText, type VocabularySource } from "../importers/text.ts";

interface PushOptions extends AccessOptions {
  readonly idx?: readonly string[];
  readonly testIdx?: readonly string[];
  readonly csv?: string;
  readonly target?: string;
  readonly column: Readonly<Record<string, string>>;
  readonly normalise: boolean;
  readonly delimiter: string;
  readonly npy: Readonly<Record<string, string>>;
  readonly npz?: string;
  readonly images?: string;
  readonly text?: string;
  readonly texts?: string;
  readonly textColumn: string;
  readonly length: number;
  readonly bytes?: true;
  readonly characters?: true;
  readonly tokenizer?: string;
  readonly split?: Fractions;
  readonly seed: number;
  readonly mine: boolean;
}

const WARNING = `note: everyone who takes part can copy these data: push only what you may share (--mine says that you may)`;

function importIdx(idx: readonly string[], testIdx: readonly string[] | undefined): Imported {
  const [images, labels] = pairOf(idx, "--idx");
  const [testImages, testLabels] = testIdx === undefined ? [undefined, undefined] : pairOf(testIdx, "--test-idx");
  const content = readImageSet({ images, labels, testImages, testLabels });
  const classes = content.rows[1].reduce((most, label) => Math.max(most, label), 0) + 1;
  return {
    content,
    notes: [],
    x: '{ column: "image", scale: 1 / 255 }',
    y: '"label"',
    input: content.columns[0].shape,
    ending: classEnding(classes),
  };
}

function importTable(file: string, options: PushOptions): Imported {
  const { target, column, normalise, split, seed, delimiter } = options;
  if (target === undefined) throw new CliError("--csv needs --target <column>: which column is to be predicted?");
  const columns: Record<string, ColumnType> = {};
  for (const [name, asked] of Object.entries(column)) {
    const type = COLUMN_TYPES.find((known) => known === asked);
    if (type === undefined) {
      throw new CliError(`--column ${name}=${asked}: a column is ${COLUMN_TYPES.join(", ")}`);
    }
    columns[name] = type;
  }
  return importCsv({ file, target, columns, normalise, split, seed, delimiter });
}

/** Throws CliError unless tokens are of one kind. */
function vocabularyOf({ bytes, characters, tokenizer }: PushOptions): VocabularySource | undefined {
  if ([bytes, characters, tokenizer].filter((asked) => asked !== undefined).length > 1) {
    throw new CliError("tokens are of one kind: say --bytes, --characters or --tokenizer");
  }
  if (tokenizer !== undefined) return { tokenizer };
  if (characters === true) return "characters";
  return bytes === true ? "bytes" : undefined;
}

const importTexts = (file: string, vocabulary: VocabularySource | undefined, options: PushOptions): Imported => {
  const { textColumn: column, target, length, split, seed, delimiter } = options;
  return importLabelledText({ file, column, target, length, vocabulary, split, seed, delimiter });
};

/** One importer by option. Throws CliError unless exactly one is asked for. */
function importAsked(options: PushOptions): Imported {
  const { idx, testIdx, csv, npy, npz, images, text, texts, split, seed } = options;
  const vocabulary = vocabularyOf(options);
  if (vocabulary !== undefined && text === undefined && texts === undefined) {
    throw new CliError(
      "--bytes, --characters and --tokenizer say what the tokens of --text or --texts are; there is neither",
    );
  }
  const importers: Readonly<Record<string, (() => Imported) | undefined>> = {
    "--csv": csv === undefined ? undefined : () => importTable(csv, options),
    "--npy": Object.keys(npy).length === 0 ? undefined : () => importNpy(npy, split, seed),
    "--npz": npz === undefined ? undefined : () => importNpz(npz, split, seed),
    "--images": images === undefined ? undefined : () => importImages(images, split, seed),
    "--text": text === undefined ? undefined : () => importText({ file: text, vocabulary, split }),
    "--texts": texts === undefined ? undefined : () => importTexts(texts, vocabulary, options),
    "--idx": idx === undefined ? undefined : () => importIdx(idx, testIdx),
  };
  const asked = Object.entries(importers).filter(([, run]) => run !== undefined);
  const [, run] = asked[0] ?? [];
  if (run === undefined || asked.length > 1) {
    const came = asked.length === 0 ? "none came" : `${asked.map(([name]) => name).join(" and ")} came`;
    throw new CliError(`say where the data are by one of ${Object.keys(importers).join(", ")}; ${came}`);
  }
  return run();
}

/** Throws CliError for what a coordinator would refuse, before anything is sent. */
function checkManifest(manifest: unknown): void {
  try {
    parseManifest(manifest);
  } catch (error) {
    throw new CliError(messageOf(error), { cause: error });
  }
}

async function push(name: string, options: PushOptions): Promise<void> {
  const imported = importAsked(options);
  const { manifest, chunks } = cutDataset(name, imported.content);
  checkManifest(manifest);
  if (!options.mine) console.error(WARNING);
  for (const note of imported.notes) console.log(`  ${plain(note, 2_000)}`);
  const isTerminal = process.stdout.isTTY === true;
  await openApi(options).pushDataset(manifest, chunks, (done) => {
    if (isTerminal) process.stdout.write(`\r${done}/${chunks.length} chunks`);
  });
  const splits = Object.entries(manifest.splits).map(([split, [from, to]]) => `${split} [${from}, ${to})`);
  const text = `${name}: ${manifest.samples} ${imported.window === undefined ? "samples" : "rows"} in ${manifest.chunks.length} chunks; ${splits.join(", ")}`;
  console.log(isTerminal ? `\r\x1b[K${text}` : text);
  console.log(["", "in the session file:", ...snippet(name, imported).map((line) => `  ${line}`)].join("\n"));
}

/** Gathers `name=value` arguments of an option that may come several times. */
function pairs(form: string): (text: string, before: Record<string, string>) => Record<string, string> {
  return (text, before) => {
    const [, name, value] = /^(.+?)=(.+)$/s.exec(text) ?? [];
    if (name === undefined || value === undefined) throw new InvalidArgumentError(`expected ${form}`);
    return { ...before, [name]: value };
  };
}

export function pushCommand(): Command {
  const examples = [
    "dataset push moons --csv moons.csv --target moon",
    "dataset push wine --csv wine.csv --target quality --column id=skip colour=category --delimiter ';'",
    "dataset push digits --npy x=features.npy y=labels.npy --split train=0.9,validation=0.1",
    "dataset push digits --npz digits.npz",
    "dataset push pets --images pets         # pets/cat/1.png, pets/dog/1.png, …",
    "dataset push novel --text novel.txt --characters",
    "dataset push reviews --texts reviews.csv --target stars --length 200 --tokenizer tokenizer.json",
    "dataset push mnist --idx train-images.gz train-labels.gz --test-idx t10k-images.gz t10k-labels.gz",
  ];
  return createCommand("push", "push a data set, and print how a session file asks for it", examples)
    .argument("<name>", "what sessions call it")
    .optionsGroup("A table:")
    .option("--csv <file>", "with a header row; becomes column features, and one called as the target is")
    .option(
      "--target <column>",
      "the column to predict: text and few whole numbers are classes (of --texts it is label if left out)",
    )
    .addOption(
      new Option("--column <name=type...>", `what a column is, where its cells do not tell: ${COLUMN_TYPES.join(", ")}`)
        .argParser(pairs("name=type"))
        .default({}, "as the cells look"),
    )
    .addOption(new Option("--delimiter <c>", "between cells, or tab").default(","))
    .option("--no-normalise", "push numbers as they are, not by the training part's mean and deviation")
    .optionsGroup("Arrays:")
    .addOption(
      new Option("--npy <column=file...>", "NumPy arrays, features first")
        .argParser(pairs("column=file.npy"))
        .default({}, "none"),
    )
    .option("--npz <file>", "NumPy arrays in one file, features first")
    .option("--idx <files...>", "images and labels as MNIST's, gzipped or not: columns image and label")
    .option("--test-idx <files...>", "images and labels for the test, appended after the training ones")
    .optionsGroup("Pictures:")
    .option("--images <folder>", "PNG files of one size, a sub-folder for each class: columns image and label")
    .optionsGroup("Text:")
    .option("--text <file>", "a row a token, in order, for sessions whose samples are windows: column tokens")
    .option(
      "--texts <file>",
      "many texts with labels: CSV, .jsonl, or a folder with a sub-folder of .txt files a class",
    )
    .option("--text-column <column>", "of --texts, which column is the text", "text")
    .addOption(
      new Option("--length <n>", "tokens that each of --texts is padded or cut to")
        .argParser(whole(1, 65_536))
        .default(128),
    )
    .option("--bytes", "tokens are the file's bytes, whatever it is (the default)")
    .option("--characters", "tokens are the characters of the text, numbered in the order of their code points")
    .option("--tokenizer <tokenizer.json>", "tokens are what this tokenizer makes of it (Hugging Face's format)")
    .optionsGroup("Parts (not of IDX files, which come in parts):")
    .addOption(
      new Option(
        "--split <parts>",
        "after a shuffle, except of a text (default: train=0.8,validation=0.1,test=0.1)",
      ).argParser(parseFractions),
    )
    .addOption(new Option("--seed <n>", "of the shuffle").argParser(whole(0, 0xffffffff)).default(0))
    .optionsGroup("Other:")
    .option("--mine", "these are yours to share: no reminder that participants can copy them", false)
    .addOption(serverOption())
    .addOption(dataOption())
    .action(push);
}
