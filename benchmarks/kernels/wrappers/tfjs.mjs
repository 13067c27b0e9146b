// Answers float32 vectors (docs/vectors.md) by TensorFlow.js on its CPU backend: node tfjs.mjs vectors.json > answers.json
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/build/kernels/node/`);
const tf = require("@tensorflow/tfjs-core");
require("@tensorflow/tfjs-backend-cpu");

const { NONE, MEAN, SUM } = tf.Reduction;
const functions = {
  softmax: ({ x }) => tf.softmax(x),
  log_softmax: ({ x }) => tf.logSoftmax(x),
  logsumexp: ({ x }, { axis = -1 }) => tf.logSumExp(x, axis),
  cross_entropy: ({ logits, target }, { reduction = "mean", label_smoothing = 0 }) =>
    tf.losses.softmaxCrossEntropy(target, logits, 1, label_smoothing, { none: NONE, mean: MEAN, sum: SUM }[reduction]),
};
const offered = { softmax: [], log_softmax: [], logsumexp: ["axis"], cross_entropy: ["reduction", "label_smoothing"] };

const view = new DataView(new ArrayBuffer(4));
const read = (word) => (view.setUint32(0, parseInt(word, 16)), view.getFloat32(0));
const write = (value) => (view.setFloat32(0, value), view.getUint32(0).toString(16).padStart(8, "0"));
const tensor = (given, classes) => {
  if (given.values) return tf.tensor2d(given.values.map((label) => Array.from({ length: classes }, (_, c) => +(c === label))));
  return tf.tensor(given.bits.split(" ").map(read), given.shape, "float32");
};
const number = (option) => (typeof option === "object" ? Number(option.value) : option);
const answer = ({ op, options, inputs }) => {
  if (Object.keys(options).some((name) => !offered[op].includes(name))) return null; // not offered
  if (inputs.target?.values?.some((label) => label < 0)) return null;
  const classes = inputs.logits?.shape[1];
  const tensors = Object.fromEntries(Object.entries(inputs).map(([name, given]) => [name, tensor(given, classes)]));
  const given = Object.fromEntries(Object.entries(options).map(([name, option]) => [name, number(option)]));
  try {
    return [...functions[op](tensors, given).dataSync()].map(write).join(" ");
  } catch (error) {
    return { error: String(error) };
  }
};
const { cases } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const answers = Object.fromEntries(cases.map((one) => [one.id, answer(one)]));
console.log(JSON.stringify({ format: "xent-verify answers", version: 1, target: "TensorFlow.js", answers }));
