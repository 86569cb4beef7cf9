// The deployment's own configuration, with the addresses and the neighbours of a test: SERVICES and DEPLOYED name them.
const { gatewayConfig: deployed } = await import(process.env.DEPLOYED);

export const gatewayConfig = {
  ...deployed,
  supergraph: { ...deployed.supergraph, services: JSON.parse(process.env.SERVICES) },
};
