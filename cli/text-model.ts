/**
 * A model of language with what its tokens stand for, wherever they lie: a session on a coordinator, a checkpoint, or a
 * session file that brings its text along, whose weights are in a file of their own.
 */

import { existsSync } from "node:fs";
import { basename } from "node:path";
import type { TextCodec } from "../client/text/codec.ts";
import { CHECKPOINT_LIMITS } from "../shared/checkpoint/head.ts";
import { GenerationError, languageModelOf } from "../shared/generation/index.ts";
import { GraphError } from "../shared/graph/error.ts";
import { type Graph, givenWeights, parameterLength } from "../shared/graph/index.ts";
import { startFrom } from "../shared/nn/weights.ts";
import { MAX_MODEL_BYTES } from "../shared/onnx/model.ts";
import type { DatasetManifest } from "../shared/session/dataset.ts";
import type { SessionDefinition } from "../shared/session/definition.ts";
import { SessionError } from "../shared/session/errors.ts";
import { parseManifest } from "../shared/session/manifest.ts";
import { parseDefinition } from "../shared/session/validate.ts";
import type { Vocabulary } from "../shared/session/vocabulary.ts";
import { coordinatorBudget } from "../workers/limits.ts";
import { type AccessOptions, openSession } from "./access.ts";
import type { CoordinatorApi, SessionDescription } from "./api.ts";
import { type Checkpoint, parseCheckpoint } from "./checkpoint.ts";
import { readSource } from "./dataset.ts";
import { CliError, RefusedError } from "./errors.ts";
import { readFile } from "./importers/file.ts";
import { parseSafetensors } from "./importers/safetensors.ts";
import { loadSessionFile } from "./session-file.ts";
import { openVocabulary } from "./tokenizer.ts";

export type Which = "best" | "latest";

export interface TextModelOptions extends AccessOptions {
  readonly which: Which;
  /** A safetensors file of weights instead of the session's own. */
  readonly weights?: string | undefined;
}

export interface TextModel {
  readonly title: string;
  readonly graph: Graph;
  /** Flat. */
  readonly weights: Float32Array;
  readonly codec: TextCodec;
}

/** What `train` writes unless told otherwise. */
const DEFAULT_WEIGHTS = "model.safetensors";
const NOTHING = new Uint8Array();

const isSessionFile = (what: string): boolean => /\.[cm]?[jt]s$/.test(what);
const isCheckpoint = (what: string): boolean => what.endsWith(".safetensors");

/** Throws CliError unless the session's data are text and its model is one of language: before it is trained for nothing. */
export function requireTextModel({ graph, title }: SessionDefinition, manifest: DatasetManifest | null): void {
  requireVocabulary(manifest?.vocabulary, title);
  try {
    languageModelOf(graph);
  } catch (error) {
    if (!(error instanceof GenerationError)) throw error;
    throw new CliError(`${title}: ${error.message}`, { cause: error });
  }
}

/**
 * @param what a session's link or id, a session file, or a checkpoint file; undefined for the coordinator's newest session
 * Throws CliError where there is no such thing, where its data are no text, and where weights do not fit.
 */
export async function openTextModel(what: string | undefined, options: TextModelOptions): Promise<TextModel> {
  if (what !== undefined && isSessionFile(what)) return openFile(what, options);
  if (what !== undefined && isCheckpoint(what)) return openCheckpoint(what, options);
  return openHosted(what, options);
}

function requireVocabulary(vocabulary: Vocabulary | undefined, title: string): Vocabulary {
  if (vocabulary !== undefined) return vocabulary;
  throw new CliError(
    `${title} has no vocabulary: its data are no text that was pushed by commonweight dataset push --text, so its output is none either`,
  );
}

/** Flat weights out of a file, which has exactly the graph's parameters. */
function readWeights(graph: Graph, file: string): Float32Array {
  const hint = `${file}: commonweight train and commonweight export write it, and --weights names another one`;
  if (!existsSync(file)) throw new CliError(`there are no weights ${hint}`);
  const tensors = parseSafetensors(readFile(file, MAX_MODEL_BYTES), file);
  try {
    return givenWeights(startFrom(graph, tensors)) ?? new Float32Array(parameterLength(graph));
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    throw new CliError(`${file} is of another model: ${error.message}`, { cause: error });
  }
}

/** A coordinator's word, checked as volunteers check it. */
function checked<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof SessionError) && !(error instanceof SyntaxError)) throw error;
    throw new CliError(`this session is none that can be run: ${error.message}`, { cause: error });
  }
}

/** The coordinator's weights; the latest where nothing was measured on held-out samples yet. */
async function downloadWeights(
  api: CoordinatorApi,
  { id, parameters }: SessionDescription,
  which: Which,
): Promise<Float32Array> {
  try {
    return await api.readWeights(id, which, parameters);
  } catch (error) {
    if (which === "latest" || !(error instanceof RefusedError) || error.code !== "no-best") throw error;
    return api.readWeights(id, "latest", parameters);
  }
}

/** A session's model with the weights that the coordinator has, or those of a file. Throws CliError as `openTextModel`. */
export async function openSessionModel(
  api: CoordinatorApi,
  session: SessionDescription,
  { which, weights }: Pick<TextModelOptions, "which" | "weights">,
): Promise<TextModel> {
  const { graph, title } = checked(() => parseDefinition(session.definition, coordinatorBudget));
  const manifest = session.manifest === null ? null : checked(() => parseManifest(session.manifest));
  const codec = await openVocabulary(requireVocabulary(manifest?.vocabulary, title), (hash) =>
    api.readBlob(session.id, hash),
  );
  const own = { ...session, parameters: parameterLength(graph) };
  return {
    title,
    graph,
    weights: weights === undefined ? await downloadWeights(api, own, which) : readWeights(graph, weights),
    codec,
  };
}

async function openHosted(link: string | undefined, options: TextModelOptions): Promise<TextModel> {
  const { api, id } = await openSession(link, options);
  return openSessionModel(api, await api.readSession(id), options);
}

/** The text that the file brings along is read again, for the characters in it. */
async function openFile(path: string, { weights = DEFAULT_WEIGHTS }: TextModelOptions): Promise<TextModel> {
  const { definition, datasets, folder } = await loadSessionFile(path);
  const { data, graph, title } = definition;
  const name = data.source === "dataset" ? data.dataset : "";
  const source = datasets[name];
  if (source === undefined) {
    throw new CliError(
      `${path} brings no data set ${name} along, which would say what tokens stand for: give the session's link instead`,
    );
  }
  const { vocabulary, tokenizer } = readSource(name, source, folder);
  const codec = await openVocabulary(requireVocabulary(vocabulary, title), async () => tokenizer?.bytes ?? NOTHING);
  return { title, graph, weights: readWeights(graph, weights), codec };
}

async function openCheckpoint(path: string, options: TextModelOptions): Promise<TextModel> {
  const limit = CHECKPOINT_LIMITS.fileBytes + CHECKPOINT_LIMITS.headerBytes;
  const checkpoint = parseCheckpoint(readFile(path, limit), basename(path));
  const { definition, head } = checkpoint;
  const { manifest: text } = head;
  const manifest = text === null ? null : checked(() => parseManifest(JSON.parse(text)));
  const vocabulary = requireVocabulary(manifest?.vocabulary, definition.title);
  const codec = await openVocabulary(vocabulary, () => {
    throw new CliError(
      `${path} does not hold the session's tokenizer: give the session's link, or its file and --weights`,
    );
  });
  const { graph, title } = definition;
  const weights =
    options.weights === undefined ? partOf(checkpoint, options.which) : readWeights(graph, options.weights);
  return { title, graph, weights, codec };
}

/** The checkpoint's weights: the best where there are any and they are wanted, the average where one is kept. */
function partOf({ head, data, name }: Checkpoint, which: Which): Float32Array {
  const wanted = which === "best" ? ["best.weights"] : [];
  for (const part of [...wanted, "latest.average", "latest.weights"]) {
    const at = head.parts.findIndex((held) => held.name === part);
    if (at < 0) continue;
    const offset = head.parts.slice(0, at).reduce((sum, { bytes }) => sum + bytes, 0);
    return new Float32Array(data.slice(offset, offset + (head.parts[at]?.bytes ?? 0)).buffer);
  }
  throw new CliError(`${name} holds no weights`);
}
