import { connect, createServer } from "node:net";
import { expect, it } from "vitest";
import { startFaultyLine } from "../chaos/faulty-line.ts";

it("lets bytes through in the order in which they came, however slow it is and however often it stalls", async () => {
  const [count, size] = [400, 997];
  const server = createServer((socket) => {
    let sent = 0;
    // Pieces of every size, as they come from a sender that writes messages.
    const next = (): void => {
      if (sent === count) return void socket.end();
      socket.write(Buffer.alloc(1 + ((sent * size) % 20_000), sent++ % 256));
      setTimeout(next, sent % 3 === 0 ? 1 : 0);
    };
    next();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const line = await startFaultyLine(
    `http://127.0.0.1:${port}`,
    { delay: 40, bandwidth: 8_000_000, stall: { every: 60, lasts: 20 } },
    Math.random,
  );
  const parts: Buffer[] = [];
  await new Promise<void>((resolve) => {
    const socket = connect(Number(new URL(line.url).port), "127.0.0.1");
    socket.on("data", (data: Buffer) => parts.push(data));
    const expected = Array.from({ length: count }, (_, at) => 1 + ((at * size) % 20_000)).reduce((a, b) => a + b);
    const look = setInterval(() => {
      if (parts.reduce((sum, { byteLength }) => sum + byteLength, 0) < expected) return;
      clearInterval(look);
      socket.destroy();
      resolve();
    }, 10);
  });
  await line.stop();
  server.close();
  const came = Buffer.concat(parts);
  const wanted = Buffer.concat(
    Array.from({ length: count }, (_, at) => Buffer.alloc(1 + ((at * size) % 20_000), at % 256)),
  );
  expect(came.equals(wanted)).toBe(true);
});
