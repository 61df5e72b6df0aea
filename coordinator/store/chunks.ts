/** Immutable blobs in R2, by the hex SHA-256 of their bytes: pieces of data sets, and given first weights. */

export const chunkKey = (hash: string): string => `chunks/${hash}`;
