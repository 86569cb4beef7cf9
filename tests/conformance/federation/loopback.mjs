// Loaded before a server that we did not write (node --import): it listens on this machine alone.
import net from 'node:net';

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (options, ...more) {
  const open = typeof options === 'object' && options !== null && 'port' in options && !options.host;
  return listen.call(this, open ? { ...options, host: '127.0.0.1' } : options, ...more);
};
