export { chooseToken, type Sampling } from "./choose.ts";
export { GenerationError, type GenerationErrorCode } from "./error.ts";
export { type GenerationOptions, generate, type PredictTokens, requireCausal } from "./generate.ts";
export { type LanguageModel, languageModelOf } from "./language-model.ts";
