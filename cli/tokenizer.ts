/**
 * Tokenizers by their `tokenizer.json`, the format of Hugging Face's tokenizers (byte-pair encoding, WordPiece, Unigram), read
 * by that project's own library. Tokens that only frame a text for some models, such as [CLS], are not added.
 *
 * The file's patterns run as regular expressions: one that came from a stranger can take for ever, but do nothing else.
 */

import { Tokenizer } from "@huggingface/tokenizers";
import * as v from "valibot";
import { bytesCodec, charactersCodec, requireTokens, type TextCodec, VocabularyError } from "../client/text/codec.ts";
import { MAX_TOKENS, type Vocabulary } from "../shared/session/vocabulary.ts";
import { CliError, messageOf } from "./errors.ts";

/** Throws CliError naming the file unless it is a tokenizer that the library reads. */
export function readTokenizer(file: Uint8Array, name: string): TextCodec {
  const tokenizer = parse(file, name);
  const size = [...tokenizer.get_vocab().values()].reduce((most, token) => Math.max(most, token + 1), 0);
  if (size === 0) throw new CliError(`${name}: its vocabulary is empty`);
  return {
    size,
    encode(text) {
      const { ids } = run(name, () => tokenizer.encode(text, { add_special_tokens: false }));
      const at = ids.findIndex((id: number | undefined) => id === undefined);
      if (at < 0) return ids;
      throw new VocabularyError(
        "unknown-character",
        `token ${at} of the text is none of the vocabulary's ${size}, and the tokenizer has none for what is unknown`,
      );
    },
    decode(tokens) {
      requireTokens(tokens, size);
      const at = tokens.findIndex((token) => tokenizer.id_to_token(token) === undefined);
      if (at >= 0)
        throw new VocabularyError("unknown-token", `token ${at} is ${tokens[at]}, which the vocabulary leaves out`);
      if (tokens.length === 0) return "";
      const options = { skip_special_tokens: false, clean_up_tokenization_spaces: false };
      return run(name, () => tokenizer.decode([...tokens], options));
    },
  };
}

function parse(file: Uint8Array, name: string): Tokenizer {
  try {
    const described: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(file));
    checkNumbers(v.parse(numbered, described));
    return new Tokenizer(described as object, {});
  } catch (error) {
    throw new CliError(`${name} is no tokenizer.json that can be read: ${messageOf(error)}`, { cause: error });
  }
}

/** Where a tokenizer.json numbers its tokens; a list (Unigram's) numbers them by place. */
const numbered = v.object({
  model: v.object({ vocab: v.union([v.array(v.unknown()), v.record(v.string(), v.unknown())]) }),
  added_tokens: v.optional(v.array(v.object({ id: v.unknown() })), []),
});

/** The library keeps tokens in arrays by their number, so that one large number would be one large array. */
function checkNumbers({ model, added_tokens }: v.InferOutput<typeof numbered>): void {
  const all = [...(Array.isArray(model.vocab) ? [] : Object.values(model.vocab)), ...added_tokens.map(({ id }) => id)];
  const odd = all.find((id) => !Number.isInteger(id) || Number(id) < 0 || Number(id) >= MAX_TOKENS);
  if (odd !== undefined) throw new CliError(`a token has the number ${odd}, expected 0 to ${MAX_TOKENS - 1}`);
}

/** Throws CliError where a tokenizer that could be read cannot be run. */
function run<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new CliError(`${name} cannot be used: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * The codec of a data set's vocabulary.
 * @param readBlob bytes by their SHA-256, as the coordinator serves chunks; whoever passes it checks the hash
 */
export async function openVocabulary(
  vocabulary: Vocabulary,
  readBlob: (hash: string) => Promise<Uint8Array>,
): Promise<TextCodec> {
  switch (vocabulary.kind) {
    case "bytes":
      return bytesCodec;
    case "characters":
      return charactersCodec(vocabulary.characters);
    case "tokenizer":
      return readTokenizer(await readBlob(vocabulary.hash), "the session's tokenizer");
    default:
      return vocabulary satisfies never;
  }
}
