// Answers vectors (docs/vectors.md) for float64 and float32 softmax, log-softmax and logsumexp over the last axis:
//   node reader.mjs vectors/softmax-float64.json > answers.json
//   xent-verify vectors judge vectors/softmax-float64.json answers.json
import { readFileSync } from "node:fs";

const functions = { // put your own here: a row of numbers in, an array of numbers out
  softmax(x) {
    const top = Math.max(...x), terms = x.map((v) => Math.exp(v - top)), sum = terms.reduce((a, b) => a + b);
    return terms.map((t) => t / sum);
  },
  log_softmax(x) {
    const top = Math.max(...x), rest = Math.log(x.reduce((sum, v) => sum + Math.exp(v - top), 0));
    return x.map((v) => v - top - rest);
  },
  logsumexp(x) {
    const top = Math.max(...x);
    if (!Number.isFinite(top)) return [top];
    return [top + Math.log(x.reduce((sum, v) => sum + Math.exp(v - top), 0))];
  },
};
const view = new DataView(new ArrayBuffer(8));
const formats = {
  float64: [(word) => (view.setBigUint64(0, BigInt("0x" + word)), view.getFloat64(0)),
    (value) => (view.setFloat64(0, value), view.getBigUint64(0).toString(16).padStart(16, "0"))],
  float32: [(word) => (view.setUint32(0, parseInt(word, 16)), view.getFloat32(0)),
    (value) => (view.setFloat32(0, value), view.getUint32(0).toString(16).padStart(8, "0"))],
};
const answer = ({ op, dtype, options, inputs }) => {
  if (!functions[op] || !formats[dtype] || "axis" in options) return null; // not offered here
  const [read, write] = formats[dtype], x = inputs.x.bits.split(" ").map(read), n = inputs.x.shape.at(-1), result = [];
  for (let i = 0; i < x.length; i += n) result.push(...functions[op](x.slice(i, i + n)));
  return result.map(write).join(" ");
};
const { cases } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const answers = Object.fromEntries(cases.map((one) => [one.id, answer(one)]));
console.log(JSON.stringify({ format: "xent-verify answers", version: 1, target: "softmax in JavaScript", answers }, null, 1));
