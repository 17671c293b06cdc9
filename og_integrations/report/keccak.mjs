// Keccak-256 as Ethereum has it: the padding of Keccak (0x01), not that of SHA-3 (0x06).
// A lane of 64 bits is two 32-bit halves, low half first, since BigInt would take a hundred times as long.

const RATE = 136; // bytes absorbed at a time: 1600 bits less twice 256
const ROUNDS = 24;

const [ROUND_LOW, ROUND_HIGH] = roundConstants();
const ROTATIONS = [1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44];
const LANES = [10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1];

function roundConstants() {
  const low = new Uint32Array(ROUNDS);
  const high = new Uint32Array(ROUNDS);
  let register = 1;
  for (let round = 0; round < ROUNDS; round++) {
    for (let bit = 0; bit < 7; bit++) {
      if (register & 1) {
        const position = (1 << bit) - 1;
        if (position < 32) low[round] |= 1 << position;
        else high[round] |= 1 << (position - 32);
      }
      register = register & 0x80 ? ((register << 1) ^ 0x171) & 0xff : register << 1;
    }
  }
  return [low, high];
}

function permute(low, high, columnLow, columnHigh) {
  for (let round = 0; round < ROUNDS; round++) {
    for (let x = 0; x < 5; x++) {
      columnLow[x] = low[x] ^ low[x + 5] ^ low[x + 10] ^ low[x + 15] ^ low[x + 20];
      columnHigh[x] = high[x] ^ high[x + 5] ^ high[x + 10] ^ high[x + 15] ^ high[x + 20];
    }
    for (let x = 0; x < 5; x++) {
      const nextLow = columnLow[(x + 1) % 5];
      const nextHigh = columnHigh[(x + 1) % 5];
      const changeLow = columnLow[(x + 4) % 5] ^ ((nextLow << 1) | (nextHigh >>> 31));
      const changeHigh = columnHigh[(x + 4) % 5] ^ ((nextHigh << 1) | (nextLow >>> 31));
      for (let y = 0; y < 25; y += 5) {
        low[x + y] ^= changeLow;
        high[x + y] ^= changeHigh;
      }
    }
    let heldLow = low[1];
    let heldHigh = high[1];
    for (let step = 0; step < ROUNDS; step++) {
      const lane = LANES[step];
      const by = ROTATIONS[step] & 31;
      const swapped = ROTATIONS[step] >= 32;
      const fromLow = swapped ? heldHigh : heldLow;
      const fromHigh = swapped ? heldLow : heldHigh;
      heldLow = low[lane];
      heldHigh = high[lane];
      low[lane] = by ? (fromLow << by) | (fromHigh >>> (32 - by)) : fromLow;
      high[lane] = by ? (fromHigh << by) | (fromLow >>> (32 - by)) : fromHigh;
    }
    for (let y = 0; y < 25; y += 5) {
      for (let x = 0; x < 5; x++) {
        columnLow[x] = low[x + y];
        columnHigh[x] = high[x + y];
      }
      for (let x = 0; x < 5; x++) {
        low[x + y] ^= ~columnLow[(x + 1) % 5] & columnLow[(x + 2) % 5];
        high[x + y] ^= ~columnHigh[(x + 1) % 5] & columnHigh[(x + 2) % 5];
      }
    }
    low[0] ^= ROUND_LOW[round];
    high[0] ^= ROUND_HIGH[round];
  }
}

/** Return the 32 bytes of keccak256 of `bytes`, a Uint8Array. */
export function keccak256(bytes) {
  const padded = new Uint8Array((Math.floor(bytes.length / RATE) + 1) * RATE);
  padded.set(bytes);
  padded[bytes.length] ^= 0x01;
  padded[padded.length - 1] ^= 0x80;
  const words = new DataView(padded.buffer);
  const low = new Int32Array(25);
  const high = new Int32Array(25);
  const columnLow = new Int32Array(5);
  const columnHigh = new Int32Array(5);
  for (let block = 0; block < padded.length; block += RATE) {
    for (let lane = 0; lane < RATE / 8; lane++) {
      low[lane] ^= words.getInt32(block + 8 * lane, true);
      high[lane] ^= words.getInt32(block + 8 * lane + 4, true);
    }
    permute(low, high, columnLow, columnHigh);
  }
  const out = new DataView(new ArrayBuffer(32));
  for (let lane = 0; lane < 4; lane++) {
    out.setInt32(8 * lane, low[lane], true);
    out.setInt32(8 * lane + 4, high[lane], true);
  }
  return new Uint8Array(out.buffer);
}

/** Return `bytes` as lower-case hex. */
export function hex(bytes) {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** Return the bytes of an even number of hex digits. */
export const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
