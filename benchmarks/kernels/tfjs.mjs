// Answers float32 vectors (docs/vectors.md) by an expression of TensorFlow.js on its CPU backend:
//   node benchmarks/kernels/tfjs.mjs "tf.logSumExp(x, axis)" vectors.json > answers.json
// It uses inputs and options by their names; what it does not mention is not offered.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/build/kernels/node/`);
const tf = require("@tensorflow/tfjs-core");
require("@tensorflow/tfjs-backend-cpu");

const [expression, vectors] = process.argv.slice(2);
const defaults = { axis: -1, reduction: "mean", label_smoothing: 0 };
const mentioned = Object.keys(defaults).filter((name) => new RegExp(`\\b${name}\\b`).test(expression));

const view = new DataView(new ArrayBuffer(4));
const read = (word) => (view.setUint32(0, parseInt(word, 16)), view.getFloat32(0));
const write = (value) => (view.setFloat32(0, value), view.getUint32(0).toString(16).padStart(8, "0"));
const oneHot = (labels, classes) => labels.map((label) => Array.from({ length: classes }, (_, c) => +(c === label)));
const tensor = ({ values, bits, shape }, classes) =>
  values ? tf.tensor2d(oneHot(values, classes)) : tf.tensor(bits.split(" ").map(read), shape, "float32");
const answer = ({ options, inputs }) => {
  if (Object.keys(options).some((name) => !mentioned.includes(name))) return null;
  if (inputs.target?.values?.some((label) => label < 0)) return null; // ignored labels
  const given = { ...defaults, tf };
  for (const [name, value] of Object.entries(options)) given[name] = value?.value ?? value;
  for (const [name, value] of Object.entries(inputs)) given[name] = tensor(value, inputs.logits?.shape[1]);
  try {
    const result = new Function(...Object.keys(given), `return ${expression}`)(...Object.values(given));
    return [...result.dataSync()].map(write).join(" ");
  } catch (error) {
    return { error: String(error) };
  }
};
const { cases } = JSON.parse(readFileSync(vectors, "utf8"));
const answers = Object.fromEntries(cases.map((one) => [one.id, answer(one)]));
console.log(JSON.stringify({ format: "xent-verify answers", version: 1, target: "TensorFlow.js", answers }));
