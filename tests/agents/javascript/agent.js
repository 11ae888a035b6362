// An agent in JavaScript, as the tests build it with componentize-js.
//
// It calls a tool, sleeps, asks a person and waits for a signal, and looks at
// JavaScript's own clock and randomness on the way: all of it follows the journal.

import { ask, call, signal, sleep } from 'airlock:agent/host@0.1.0';

// The answer of a request, once it is there. An error of a request is thrown.
function wait(handle) {
  handle.subscribe().block();
  const { tag, val } = handle.answer();
  if (tag === 'err') throw val;
  return JSON.parse(val);
}

function look() {
  return { random: String(Math.random()), now_ms: Date.now() };
}

export const agent = {
  about() {
    const inputSchema = JSON.stringify({
      type: 'object',
      properties: { key: { type: 'string' } },
      required: ['key'],
    });
    const want = {
      capability: 'tools',
      scope: '{ tool = "keeper/*" }',
      reason: 'To keep what it saw.',
      optional: false,
    };
    return { description: 'Looks, keeps, asks and waits.', inputSchema, wants: [want] };
  },

  run(goal, input) {
    const { key } = JSON.parse(input);
    const before = look();
    console.log(`begun with ${before.random}`);
    wait(call('keeper/put', JSON.stringify({ key, value: before.random })));
    wait(sleep(30n));
    const question = { text: 'Go on?', choices: ['yes', 'no'], payload: JSON.stringify(before) };
    const { choice } = wait(ask(question));
    const told = wait(signal('go'));
    const found = wait(call('keeper/get', JSON.stringify({ key })));
    const outcome = { goal, before, after: look(), choice, told, found: found.value, reached: [] };
    return { tag: 'done', val: JSON.stringify(outcome) };
  },
};
