// c15t's backend, self-hosted as its documentation says: Kysely on PostgreSQL, Hono's server for
// Node. Arguments: the database's URL, the port. Logs errors only; telemetry is off, IAB too,
// so it calls nobody. Says "ready" once it listens.
import { serve } from "@hono/node-server";
import { c15tInstance } from "@c15t/backend";
import { kyselyAdapter } from "@c15t/backend/db/adapters/kysely";
import { migrator } from "@c15t/backend/db/migrator";
import { DB } from "@c15t/backend/db/schema";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";

const [url, port] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString: url, max: 20 });
const db = new Kysely({ dialect: new PostgresDialect({ pool }) });
const adapter = kyselyAdapter({ db, provider: "postgresql" });

const migration = await migrator({ db: DB.client(adapter), schema: "latest" });
await migration.execute();

const instance = c15tInstance({
  appName: "bench",
  adapter,
  trustedOrigins: ["https://shop.example"],
  logger: { level: "error" },
  telemetry: { enabled: false },
});
serve({ fetch: instance.handler, port: Number(port), hostname: "127.0.0.1" }, () => {
  console.log("ready");
});
