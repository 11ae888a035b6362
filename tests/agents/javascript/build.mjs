// node build.mjs WIT AGENT.js COMPONENT.wasm

import { readFile, writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [witPath, source, out] = process.argv.slice(2);
const { component } = await componentize(await readFile(source, 'utf8'), {
  witPath,
  worldName: 'agent-world',
  disableFeatures: ['http', 'fetch-event'],
});
await writeFile(out, component);
