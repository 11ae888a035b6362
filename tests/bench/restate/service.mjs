// A service of Restate whose handler does as many durable steps as it is told,
// each of which does nothing. Prints its port and serves until killed.

import { createServer } from "node:http2";

// Node 20 has none yet.
Promise.withResolvers ??= () => {
  let resolve, reject;
  const promise = new Promise((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
};

const restate = await import("@restatedev/restate-sdk");

const steps = restate.service({
  name: "Steps",
  handlers: {
    run: async (ctx, input) => {
      for (let step = 0; step < input.steps; step++) {
        await ctx.run("step", () => step);
      }
      return { steps: input.steps };
    },
  },
});

const server = createServer(restate.createEndpointHandler({ services: [steps] }));
server.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
