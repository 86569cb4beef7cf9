// Reads a federated trace as Apollo's gateways and routers do, and prints it as JSON: node trace.mjs BASE64
import protobuf from '@apollo/usage-reporting-protobuf';

const { Trace } = protobuf;
const trace = Trace.decode(Buffer.from(process.argv[2], 'base64'));
process.stdout.write(JSON.stringify(Trace.toObject(trace, { longs: Number, arrays: true })));
