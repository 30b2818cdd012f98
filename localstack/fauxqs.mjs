// Starts fauxqs on the port of PORT; DATA_DIR makes it keep its messages. Its own command line ignores both settings.
import net from "node:net";

// It asks for all interfaces and has no setting for that; a test server belongs to this machine alone.
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (options, ...rest) {
  const own = typeof options === "object" && "port" in options ? { ...options, host: "127.0.0.1" } : options;
  return listen.call(this, own, ...rest);
};

const { startFauxqs } = await import("fauxqs");
const server = await startFauxqs({
  port: Number(process.env.PORT || 4567),
  logger: false,
  ...(process.env.DATA_DIR ? { dataDir: process.env.DATA_DIR } : {}),
});
process.on("SIGTERM", async () => {
  await server.stop();
  process.exit(0);
});
