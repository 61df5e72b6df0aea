/**
 * Reads a session's definition from untrusted JSON. The coordinator does so when a session is created, and every client
 * again before it computes anything (invariant I10), each with its own budget for the graph.
 */

import * as v from "valibot";
import { codecNames, isExact } from "../codec/codecs.ts";
import type { Graph } from "../graph/ir.ts";
import { type GraphBudget, GraphError, validateGraph } from "../graph/validate.ts";
import { accessSchema } from "./access.ts";
import { aggregationSchema, leastRows, robustOf } from "./aggregation.ts";
import { auditsSchema, checkAudits } from "./audits.ts";
import { augmentationSchema, checkAugmentation } from "./augmentation.ts";
import type { DatasetManifest } from "./dataset.ts";
import { sampleBytes } from "./dataset.ts";
import type { ColumnSpec, InputBinding, SessionData, SessionDefinition } from "./definition.ts";
import { SESSION_LIMITS } from "./definition.ts";
import { SessionError } from "./errors.ts";
import { heldOutFigureNames } from "./figures.ts";
import { requireDistinct } from "./manifest.ts";
import { averageSchema, clippingSchema, DEFAULT_GROUP, groupSchema, optimizerSchema } from "./optimizer.ts";
import { microBatchesPerStep, planRun, type RunPlan } from "./plan.ts";
import { momentumOf, rulesOf, scheduleSchema } from "./schedule.ts";
import { binding, column, count, datasetName, describeIssue, finite, range, rowWindow } from "./schemas.ts";
import { squaresOf } from "./squares.ts";
import { reachOf, samplesIn, windowOf } from "./window.ts";

const positive = v.pipe(count, v.minValue(1));
const uint32 = v.pipe(count, v.maxValue(0xffffffff));
const rate = v.pipe(finite, v.minValue(0));
const inputBinding = v.strictObject({ ...binding.entries, augment: v.exactOptional(augmentationSchema) });
const bindings = v.record(v.pipe(v.string(), v.maxLength(128)), inputBinding);

const note = v.pipe(v.string(), v.maxLength(SESSION_LIMITS.noteCharacters));

/** Everything but the graph, which has its own reader. */
const definitionSchema = v.strictObject({
  format: v.literal(1),
  title: v.pipe(v.string(), v.minLength(1), v.maxLength(SESSION_LIMITS.titleCharacters)),
  description: v.pipe(v.string(), v.maxLength(SESSION_LIMITS.descriptionCharacters)),
  contact: note,
  dataLicence: note,
  modelLicence: note,
  graph: v.unknown(),
  optimizer: optimizerSchema,
  groups: v.exactOptional(
    v.pipe(
      v.record(v.pipe(v.string(), v.minLength(1), v.maxLength(64)), groupSchema),
      v.check(
        (groups) => Object.keys(groups).length <= SESSION_LIMITS.groups,
        `at most ${SESSION_LIMITS.groups} groups`,
      ),
    ),
  ),
  aggregation: v.exactOptional(aggregationSchema),
  clipping: v.exactOptional(clippingSchema),
  schedule: v.exactOptional(scheduleSchema),
  average: v.exactOptional(averageSchema),
  data: v.variant("source", [
    v.strictObject({
      source: v.literal("dataset"),
      dataset: datasetName,
      window: v.exactOptional(rowWindow),
      inputs: bindings,
      train: range,
      validation: range,
      test: range,
    }),
    v.strictObject({
      source: v.literal("local"),
      columns: v.pipe(v.array(column), v.minLength(1), v.maxLength(64)),
      inputs: bindings,
      samplesPerEpoch: positive,
    }),
  ]),
  batchSize: positive,
  microBatch: positive,
  epochs: positive,
  maxSteps: v.nullable(positive),
  quorum: v.exactOptional(v.pipe(finite, v.minValue(0.5), v.ltValue(1))),
  earlyStopping: v.exactOptional(
    v.strictObject({
      metric: v.pipe(v.string(), v.maxLength(128)),
      patience: positive,
      minimumChange: rate,
      restoreBest: v.boolean(),
    }),
  ),
  seed: uint32,
  initialWeights: v.exactOptional(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "not a hex SHA-256"))),
  codec: v.picklist(codecNames),
  downlink: v.exactOptional(v.literal("delta")),
  audits: v.exactOptional(auditsSchema),
  visibility: v.picklist(["public", "private"]),
  access: v.exactOptional(accessSchema),
});

/**
 * Parses and checks a whole definition. Throws SessionError: `bad-definition` or `bad-graph` for what is malformed,
 * `limit-exceeded` with the figure and the limit for what is too much.
 */
export function parseDefinition(value: unknown, budget: GraphBudget): SessionDefinition {
  const result = v.safeParse(definitionSchema, value);
  if (!result.success) throw new SessionError("bad-definition", describeIssue(result.issues[0], "definition"));
  const { batchSize, microBatch, epochs, data } = result.output;
  limit("samples in a batch", batchSize, SESSION_LIMITS.batchSize);
  limit("samples in a micro-batch", microBatch, SESSION_LIMITS.microBatch);
  limit("epochs", epochs, SESSION_LIMITS.epochs);
  if (data.source === "local") {
    limit("samples in an epoch", data.samplesPerEpoch, SESSION_LIMITS.datasetSamples);
    requireDistinct(data.columns);
  } else {
    const { train, validation, test } = data;
    if (train[0] === train[1]) throw new SessionError("bad-definition", "data.train: there are no samples to train on");
    requireDisjoint({ train, validation, test });
  }
  checkWindows(data);
  const definition: SessionDefinition = {
    ...result.output,
    graph: parseGraph(result.output.graph, microBatch, budget),
  };
  const plan = planRun(definition);
  limit("micro-batches in a step", microBatchesPerStep(plan), SESSION_LIMITS.microBatchesPerStep);
  limit("steps", plan.totalSteps, 0xffffff);
  checkInitialWeights(definition);
  checkBindings(definition);
  checkAugmentations(definition);
  checkGroups(definition);
  checkAggregation(definition, plan);
  checkCodec(definition);
  checkEarlyStopping(definition, plan);
  checkSchedule(definition, plan);
  checkAudits(definition);
  if (data.source === "local") checkColumns(definition, data.columns);
  return definition;
}

/** Checks that a data set holds what a definition asks of it. Throws SessionError `dataset-mismatch`. */
export function checkDataset(definition: SessionDefinition, manifest: DatasetManifest): void {
  const { data } = definition;
  if (data.source !== "dataset") throw new SessionError("dataset-mismatch", "the session's data is the clients' own");
  for (const [name, [from, to]] of Object.entries({
    train: data.train,
    validation: data.validation,
    test: data.test,
  })) {
    if (to > manifest.samples) {
      throw new SessionError(
        "dataset-mismatch",
        `data.${name} is ${from}..${to}, the data set ${manifest.name} has ${manifest.samples} ${data.window === undefined ? "samples" : "rows"}`,
      );
    }
  }
  checkColumns(definition, manifest.columns);
}

function parseGraph(value: unknown, microBatch: number, budget: GraphBudget): Graph {
  try {
    return validateGraph(value, { ...budget, microBatch });
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    throw new SessionError(error.code === "budget" ? "limit-exceeded" : "bad-graph", error.message, { cause: error });
  }
}

function limit(what: string, figure: number, most: number): void {
  if (figure > most) throw new SessionError("limit-exceeded", `${figure} ${what}, the limit is ${most}`);
}

/** A held-out sample that is also trained on would not be held out. */
function requireDisjoint(splits: Readonly<Record<string, readonly [number, number]>>): void {
  const ranges = Object.entries(splits).filter(([, [from, to]]) => from < to);
  for (const [name, [from, to]] of ranges) {
    for (const [other, [otherFrom, otherTo]] of ranges) {
      if (name < other && from < otherTo && otherFrom < to) {
        throw new SessionError("bad-definition", `data.${name} and data.${other} overlap`);
      }
    }
  }
}

/** Only windows are shifted, and a split that is not empty has room for one: none would be as if it were left out. */
function checkWindows(data: SessionData): void {
  if (data.source === "local" || data.window === undefined) {
    const shifted = Object.entries(data.inputs).find(([, { shift }]) => shift !== undefined);
    if (shifted === undefined) return;
    throw new SessionError(
      "bad-definition",
      `data.inputs.${shifted[0]}.shift: only windows are shifted: give data.window`,
    );
  }
  const { train, validation, test } = data;
  for (const [name, [from, to]] of Object.entries({ train, validation, test })) {
    if (from === to || samplesIn(data, [from, to]) > 0) continue;
    throw new SessionError(
      "bad-definition",
      `data.${name}: ${to - from} rows are no window, which takes ${reachOf(data)} (its length, and the largest shift)`,
    );
  }
}

/** Given first values come from somewhere, and none are sent that nothing asks for. */
function checkInitialWeights({ graph, initialWeights }: SessionDefinition): void {
  const parameter = graph.parameters.find(({ init }) => init.kind === "given");
  if ((parameter === undefined) === (initialWeights === undefined)) return;
  throw new SessionError(
    "bad-definition",
    parameter === undefined
      ? "initialWeights: every parameter starts from the seed"
      : `initialWeights: parameter ${parameter.name} starts from given values, which the definition does not name`,
  );
}

/** Every input of the graph is fed by exactly one binding, except `weight`, which the clients make themselves. */
function checkBindings({ graph, data }: SessionDefinition): void {
  const bound = new Set(Object.keys(data.inputs));
  for (const { name, role } of graph.inputs) {
    if (role === "weight") {
      if (bound.has(name)) throw new SessionError("bad-definition", `data.inputs.${name}: weights are made, not read`);
    } else if (!bound.delete(name)) {
      throw new SessionError("bad-definition", `data.inputs.${name}: the graph's input has no column`);
    }
  }
  const [unknown] = bound;
  if (unknown !== undefined) {
    throw new SessionError("bad-definition", `data.inputs.${unknown}: the graph has no such input`);
  }
}

function checkAugmentations({ graph, data }: SessionDefinition): void {
  for (const input of graph.inputs) {
    const augment = data.inputs[input.name]?.augment;
    if (augment === undefined) continue;
    checkAugmentation(`data.inputs.${input.name}`, augment, input);
    if (data.source === "dataset" && data.window !== undefined) {
      throw new SessionError("bad-definition", `data.inputs.${input.name}.augment: data.window makes no pictures`);
    }
  }
}

/** The groups that the parameters name are the ones that have values of their own. */
function checkGroups({ graph, groups = {} }: SessionDefinition): void {
  const named = new Set(graph.parameters.map(({ group = DEFAULT_GROUP }) => group));
  for (const name of named) {
    if (name !== DEFAULT_GROUP && !Object.hasOwn(groups, name)) {
      throw new SessionError("bad-definition", `groups: a parameter is of the group ${name}, which is not described`);
    }
  }
  for (const name of Object.keys(groups)) {
    if (!named.has(name)) throw new SessionError("bad-definition", `groups.${name}: no parameter is of this group`);
  }
}

/** Squares are logged with a step, in one row of the database. */
const MOST_SQUARES = 250_000;

function checkCodec(definition: SessionDefinition): void {
  const squares = squaresOf(definition);
  if (squares <= MOST_SQUARES) return;
  throw new SessionError(
    "bad-definition",
    `codec: with ${definition.optimizer.kind}, ${definition.codec} sends a sum of squares for each row and column: ${squares}, at most ${MOST_SQUARES}; take packed8`,
  );
}

/** A robust aggregate is of whole integer rows, and can be of enough of them. */
function checkAggregation({ aggregation, codec }: SessionDefinition, plan: RunPlan): void {
  const robust = robustOf(aggregation);
  if (robust === null) return;
  if (!isExact(codec)) {
    throw new SessionError(
      "bad-definition",
      `aggregation: ${robust.kind} compares whole gradients, and ${codec} sends a part of each: take fixed32, fixed16 or packedN`,
    );
  }
  const { bucket = 1, attackers, kind } = robust;
  const microBatches = microBatchesPerStep(plan);
  const rows = Math.ceil(microBatches / bucket);
  const least = leastRows(robust);
  if (rows < least) {
    throw new SessionError(
      "bad-definition",
      `aggregation: ${kind} against ${attackers} attackers needs ${least} rows, ` +
        `a step of ${microBatches} micro-batches in buckets of ${bucket} has at most ${rows}`,
    );
  }
}

/** What is looked at is measured: some samples are held out, and there is such a figure. */
function requireMeasured(where: string, metric: string, { graph }: SessionDefinition, plan: RunPlan): void {
  if (plan.validationSamples === 0) {
    throw new SessionError("bad-definition", `${where}: no samples are held out, give data.validation a range`);
  }
  const known = ["loss", ...heldOutFigureNames(graph)];
  if (!known.includes(metric)) {
    throw new SessionError("bad-definition", `${where}.metric: no figure ${metric}; there are ${known.join(", ")}`);
  }
}

function checkEarlyStopping(definition: SessionDefinition, plan: RunPlan): void {
  const { earlyStopping } = definition;
  if (earlyStopping !== undefined) requireMeasured("earlyStopping", earlyStopping.metric, definition, plan);
}

/** A plateau is of something that is measured, and a momentum that moves is there. */
function checkSchedule(definition: SessionDefinition, plan: RunPlan): void {
  const { schedule, optimizer } = definition;
  if (schedule === undefined) return;
  const rules = rulesOf(schedule);
  for (const rule of rules) {
    if (rule.kind === "plateau") requireMeasured("schedule", rule.metric, definition, plan);
    if (rule.kind === "oneCycle" && rule.cycleMomentum && momentumOf(optimizer) === null) {
      throw new SessionError(
        "bad-definition",
        `schedule: one-cycle moves the momentum, and ${optimizer.kind} has none here: set cycleMomentum to false`,
      );
    }
  }
  if (rules.filter(({ kind }) => kind === "plateau").length > 1) {
    throw new SessionError("bad-definition", "schedule: at most one rule may look for a plateau");
  }
}

/** The columns exist, and have the inputs' types and sizes. Throws SessionError `dataset-mismatch`. */
function checkColumns({ graph, data }: SessionDefinition, columns: readonly ColumnSpec[]): void {
  for (const input of graph.inputs) {
    const bound: InputBinding | undefined = data.inputs[input.name];
    if (bound === undefined) continue;
    const spec = columns.find(({ name }) => name === bound.column);
    const where = `data.inputs.${input.name}`;
    if (spec === undefined) {
      const known = columns.map(({ name }) => name).join(", ");
      throw new SessionError("dataset-mismatch", `${where}: no column ${bound.column}; there are ${known}`);
    }
    if (input.dtype === "int32") {
      if (spec.dtype === "float32" || bound.scale !== 1 || bound.offset !== 0) {
        throw new SessionError("dataset-mismatch", `${where}: an int32 input takes integers as they are stored`);
      }
    }
    // The leading N is the micro-batch; a sample of the input has the other dimensions.
    const wanted = input.shape.slice(1).reduce<number>((size, dimension) => size * Number(dimension), 1);
    const rows = data.source === "dataset" ? windowOf(data).length : 1;
    const held = rows * sampleBytes({ ...spec, dtype: "uint8" });
    if (wanted !== held) {
      throw new SessionError(
        "dataset-mismatch",
        `${where}: a sample has ${wanted} values [${input.shape.slice(1)}], the column ${bound.column} has ${held} [${rows === 1 ? spec.shape : [rows, ...spec.shape]}]`,
      );
    }
  }
}
