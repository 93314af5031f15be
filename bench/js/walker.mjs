// walkerOS' collector as an in-process gate: five destinations that do nothing, one of them denied
// by consent, its queue of denied events capped at one (the default of 1,000 is rescanned for every
// event and makes it about forty times slower). For every line COUNT read, pushes so many events,
// each awaited, and prints the CPU seconds and what each destination received since the start.
import { createInterface } from "node:readline";
import { startFlow } from "@walkeros/collector";

const NEEDS = [{ functional: true }, { functional: true }, { analytics: true }, { analytics: true },
  { marketing: true }];
const received = NEEDS.map(() => 0);
const destinations = Object.fromEntries(NEEDS.map((consent, n) => [`d${n}`, {
  code: { type: `d${n}`, config: {}, push: () => { received[n] += 1; } },
  config: { consent, queueMax: 1, init: true },
}]));
const { elb } = await startFlow({
  tagging: 1,
  queueMax: 1,
  destinations,
  consent: { functional: true, analytics: true, marketing: false },
});

let made = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const before = process.cpuUsage();
  for (let left = Number(line); left > 0; left -= 1) {
    made += 1;
    await elb({
      name: "product view",
      data: { id: `p${made}`, name: "Linen shirt", price: 29.95, currency: "EUR" },
      consent: { functional: true, analytics: true, marketing: false },
    });
  }
  const used = process.cpuUsage(before);
  console.log(JSON.stringify({ seconds: (used.user + used.system) / 1e6, received }));
}
