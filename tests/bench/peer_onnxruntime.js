// SPDX-License-Identifier: MIT
// ONNX Runtime's side of peers.py, which explains the commands that come by stdin.
//
//     node peer_onnxruntime.js THREADS FOLDER        FOLDER holds node_modules/onnxruntime-node
'use strict';
const fs = require('fs');
const path = require('path');
const readline = require('readline');

const threads = Number(process.argv[2]);
const modules = path.join(process.argv[3], 'node_modules', 'onnxruntime-node');
const runtime = require(modules);
let session = null;
let feeds = null;

// The numbers of bench_items().
function items(count) {
  const values = new Float32Array(count * 3 * 32 * 32);
  let seed = 1;
  for (let i = 0; i < values.length; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    values[i] = (seed >>> 8) / (1 << 23) - 1;
  }
  return new runtime.Tensor('float32', values, [count, 3, 32, 32]);
}

async function once() {
  return (await session.run(feeds)).output.data;
}

async function serve(fields) {
  switch (fields[0]) {
    case 'about':
      return [JSON.parse(fs.readFileSync(path.join(modules, 'package.json'))).version];
    case 'open': // FILE BATCH
      if (session !== null) await session.release();
      session = await runtime.InferenceSession.create(fields[1], {
        executionProviders: ['cpu'],
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        graphOptimizationLevel: 'all',
      });
      feeds = { input: items(Number(fields[2])) };
      return [];
    case 'time': {
      for (let i = 0; i < Number(fields[2]); i++) await once();
      const begin = process.hrtime.bigint();
      for (let i = 0; i < Number(fields[1]); i++) await once();
      return [(Number(process.hrtime.bigint() - begin) * 1e-9).toFixed(9)];
    }
    case 'compare': {
      const bytes = fs.readFileSync(fields[2]);
      const expected = new Float32Array(Uint8Array.from(bytes).buffer);
      const given = await once();
      let difference = 0;
      let size = 0;
      for (let i = 0; i < expected.length; i++) {
        difference += (given[i] - expected[i]) ** 2;
        size += expected[i] ** 2;
      }
      return [Math.sqrt(difference / size).toPrecision(3)];
    }
    default:
      throw new Error(`no such command: ${fields[0]}`);
  }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const fields = line.split('\t');
    if (fields[0] === 'quit') break;
    try {
      process.stdout.write(['ok', ...(await serve(fields))].join('\t') + '\n');
    } catch (failure) {
      process.stdout.write(`error\t${String(failure.message).replace(/\s+/g, ' ')}\n`);
    }
  }
  process.exit(0);
}

main();
