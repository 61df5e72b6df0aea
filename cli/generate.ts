/** A model of language writes on: text in, text out as it comes. */

import { createWasmPredictor } from "../client/engine/node/engine.ts";
import { VocabularyError } from "../client/text/codec.ts";
import { TextStream } from "../client/text/stream.ts";
import {
  GenerationError,
  type GenerationOptions,
  generate,
  languageModelOf,
  requireCausal,
} from "../shared/generation/index.ts";
import { CliError } from "./errors.ts";
import type { TextModel } from "./text-model.ts";

/** Most characters of a vocabulary that a complaint lists. */
const LISTED = 300;

/** The prompt's tokens. Throws CliError where it has what the vocabulary has not. */
function encodePrompt({ codec }: TextModel, prompt: string): readonly number[] {
  try {
    return codec.encode(prompt);
  } catch (error) {
    if (!(error instanceof VocabularyError)) throw error;
    const known = codec.size <= LISTED ? codec.decode(Array.from({ length: codec.size }, (_, token) => token)) : "";
    const hint = known === "" ? "" : `; it knows ${JSON.stringify(known)}`;
    throw new CliError(`the prompt: ${error.message}${hint}`, { cause: error });
  }
}

/**
 * The text after `prompt`, in pieces as it comes; `length` counts tokens. The same model, prompt and options give the same text.
 * Throws CliError for a prompt that is not of the vocabulary, and for what is no model of language.
 */
export async function* continueText(
  model: TextModel,
  prompt: string,
  options: GenerationOptions,
): AsyncGenerator<string, void, void> {
  const { graph, weights, codec, title } = model;
  const tokens = encodePrompt(model, prompt);
  try {
    const language = languageModelOf(graph);
    if (codec.size > language.vocabulary) {
      throw new CliError(`${title}: its text has ${codec.size} tokens, the model predicts ${language.vocabulary}`);
    }
    const engine = await createWasmPredictor(graph, 1);
    try {
      await engine.setWeights(weights);
      const predict = (window: Int32Array): Promise<Float32Array> => engine.predict({ [language.input]: window }, 1);
      await requireCausal(language, predict);
      const stream = new TextStream(codec, tokens);
      // Outputs that are no token's are never drawn.
      for await (const token of generate(language, predict, tokens, { ...options, tokens: codec.size })) {
        yield stream.push(token);
      }
      yield stream.end();
    } finally {
      await engine.dispose();
    }
  } catch (error) {
    if (!(error instanceof GenerationError)) throw error;
    throw new CliError(`${title}: ${error.message}`, { cause: error });
  }
}
