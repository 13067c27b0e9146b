// The judge of test vectors (docs/vectors.md) in one module, for Node.js. No Python is needed: copy this file and vectors/.
//
//   process.exit(judge("softmax-float32.json", answer))
//
// answer({ id, op, dtype, options, inputs, shape }) returns an array of numbers, or null where the case is not offered. An input is
// { dtype, shape, values }, in row-major order. Each number is rounded to the case's format and has to lie in the case's range, or be
// one of the words that the case accepts there; of "all -inf" and "+inf present" one word is to be kept. A subnormal result that is
// flushed to 0 fails. Failures are printed. The result is 0 (nothing failed), 1 (something did), 5 (nothing was offered). What needs
// further calls (batches, layouts, laws) and the search for causes are `xent-verify`'s. softmax.mjs beside this file is an example.
import { readFileSync } from "node:fs";

const view = new DataView(new ArrayBuffer(8));
const half = (word) => {
  const exponent = (word >> 10) & 31, fraction = word & 1023;
  const size = exponent === 31 ? (fraction ? NaN : Infinity) : (exponent ? fraction + 1024 : fraction) * 2 ** ((exponent || 1) - 25);
  return word >> 15 ? -size : size;
};
const formats = { // a number from its hex word, and the precision
  float64: [(word) => (view.setBigUint64(0, BigInt("0x" + word)), view.getFloat64(0)), 53],
  float32: [(word) => (view.setUint32(0, parseInt(word, 16)), view.getFloat32(0)), 24],
  float16: [(word) => half(parseInt(word, 16)), 11],
  bfloat16: [(word) => (view.setUint32(0, parseInt(word, 16) << 16), view.getFloat32(0)), 8],
};
const smallest = { float16: -14, bfloat16: -126, float32: -126 }; // exponents of normal numbers
const greatest = { float16: 65504, bfloat16: 2 ** 127 * (2 - 2 ** -7), float32: 2 ** 127 * (2 - 2 ** -23) };

/** A number rounded to a format, to nearest, ties to even. */
export function rounded(y, dtype) {
  if (dtype === "float64" || !Number.isFinite(y) || y === 0) return y;
  const size = Math.abs(y), about = Math.round(Math.log2(size)), exponent = 2 ** about > size ? about - 1 : about;
  const step = 2 ** (Math.max(exponent, smallest[dtype]) - formats[dtype][1] + 1);
  const scaled = y / step, down = Math.floor(scaled), rest = scaled - down;
  const near = (rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down) * step;
  return Math.abs(near) > greatest[dtype] ? Math.sign(y) * Infinity : near;
}

const numbers = (words, dtype) => (words ? words.split(" ").map(formats[dtype][0]) : []);
const near = (y, wanted, dtype) => y === wanted || Math.abs(y - wanted) <= 2 ** (2 - formats[dtype][1]) * Math.abs(wanted);

/** The indices of the elements in the row of element i. */
const row = ({ shape, axis }, i) => {
  const stride = shape.slice(axis + 1).reduce((a, b) => a * b, 1), n = shape[axis];
  const start = i - (Math.floor(i / stride) % n) * stride;
  return Array.from({ length: n }, (_, j) => start + j * stride);
};

const words = { // whether a value is what a word of "special" says
  nan: (y) => Number.isNaN(y),
  zero: (y) => y === 0,
  inf: (y) => y === Infinity,
  "-inf": (y) => y === -Infinity,
  finite: (y) => Number.isFinite(y),
  other: () => true,
  uniform: (y, at) => near(y, at.logs ? -Math.log(at.shape[at.axis]) : 1 / at.shape[at.axis], at.dtype),
  limit: (y, at, i) => { // as if +inf were a number that grows without end
    if (at.x[i] !== Infinity) return at.logs ? y === -Infinity : y === 0;
    const tops = row(at, i).filter((j) => at.x[j] === Infinity).length;
    return near(y, at.logs ? -Math.log(tops) : 1 / tops, at.dtype);
  },
};

/** Whether element i may have a value outside its range: [it may, another word was kept before]. */
function special(one, at, i, y, kept) {
  let accepted = false, broken = false;
  for (const { situation, accept, elements } of one.special ?? []) {
    if (!elements.includes(i)) continue;
    const fits = accept.filter((word) => words[word]?.(y, at, i));
    accepted ||= fits.length > 0;
    if (fits.length !== 1 || !(situation === "all -inf" || (situation === "+inf present" && at.x[i] === Infinity))) continue;
    broken ||= (kept[situation] ??= fits[0]) !== fits[0];
  }
  return [accepted, broken];
}

/** Judge a file of vectors; prints what fails, and returns the exit status. */
export function judge(path, answer, print = console.log) {
  const kept = {}, count = { passed: 0, failed: 0, skipped: 0 };
  for (const one of JSON.parse(readFileSync(path, "utf8")).cases) {
    const { id, op, dtype, options, shape } = one, inputs = {};
    for (const [name, input] of Object.entries(one.inputs))
      inputs[name] = { dtype: input.dtype, shape: input.shape, values: input.values ?? numbers(input.bits, input.dtype) };
    const given = answer({ id, op, dtype, options, inputs, shape });
    if (given === null) { count.skipped++; continue; }
    const first = Object.values(inputs)[0], axis = (options.axis ?? -1) + ((options.axis ?? -1) < 0 ? first.shape.length : 0);
    const at = { shape: first.shape, axis, x: first.values, logs: op === "log_softmax", dtype };
    const low = numbers(one.low, dtype), high = numbers(one.high, dtype);
    const wrong = low.findIndex((from, i) => {
      const y = i < given.length ? rounded(given[i], dtype) : NaN;
      const [accepted, broken] = special(one, at, i, y, kept);
      return broken || !(accepted || (Number.isNaN(from) ? Number.isNaN(y) : y >= from && y <= high[i]));
    });
    const fine = wrong < 0 && given.length === low.length;
    count[fine ? "passed" : "failed"]++;
    if (given.length !== low.length) print(`FAIL ${id}: ${given.length} values, should be ${low.length}`);
    else if (!fine) print(`FAIL ${id} [${wrong}]: ${rounded(given[wrong], dtype)} is not in [${low[wrong]}, ${high[wrong]}]`);
  }
  print(`${count.passed} passed, ${count.failed} failed, ${count.skipped} not offered`);
  return count.failed ? 1 : count.passed ? 0 : 5;
}
