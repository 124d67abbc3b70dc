// The OAuth judge: oidc-provider with rotation and PKCE required, for the grant code of crmsync.
//
//   node oidc.mjs '{"port":1,"issuer":"…","redirects":["…"],"routes":{…},"extra":{…}}'
//
// Prints one JSON line when it listens. Everything is in memory. Beside the provider's own routes:
//   POST /_control/forget    every grant, token and session is gone (as after a restart)
//   POST /_control/extra     JSON: members to add to each token answer (instance_url, id, …)
//   GET  /_control/counts    how often each grant type was asked for, answered and refused
import http from 'node:http';
import { Provider } from 'oidc-provider';

const options = JSON.parse(process.argv[2]);
let extra = options.extra ?? {};
const store = new Map();
const byGrant = new Map();
const counts = {};
const count = (what) => { counts[what] = (counts[what] ?? 0) + 1; };

/** A store that can be emptied, which the built-in one cannot. */
class Memory {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload, expiresIn) {
    const end = expiresIn ? Date.now() + expiresIn * 1000 : Infinity;
    store.set(this.key(id), { payload, end });
    if (payload.grantId) {
      const keys = byGrant.get(payload.grantId) ?? new Set();
      byGrant.set(payload.grantId, keys.add(this.key(id)));
    }
  }
  async find(id) {
    const found = store.get(this.key(id));
    return found && found.end > Date.now() ? found.payload : undefined;
  }
  async search(name, value) {
    for (const [key, { payload, end }] of store) {
      if (key.startsWith(`${this.model}:`) && payload[name] === value && end > Date.now()) return payload;
    }
    return undefined;
  }
  async findByUid(uid) { return this.search('uid', uid); }
  async findByUserCode(code) { return this.search('userCode', code); }
  async consume(id) { (await this.find(id)).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { store.delete(this.key(id)); }
  async revokeByGrantId(grant) {
    for (const key of byGrant.get(grant) ?? []) store.delete(key);
    byGrant.delete(grant);
  }
}

const provider = new Provider(options.issuer, {
  adapter: Memory,
  clients: [{
    client_id: options.client_id,
    client_secret: options.client_secret,
    token_endpoint_auth_method: options.auth_method ?? 'client_secret_post',
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    response_types: ['code'],
    redirect_uris: options.redirects,
  }],
  scopes: ['openid', 'offline_access', 'email', 'api', 'refresh_token', 'id'],
  features: {
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    devInteractions: { enabled: true },
  },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  ttl: { AccessToken: options.access_seconds ?? 60, AuthorizationCode: 60, Grant: 86400, IdToken: 60,
         Interaction: 600, RefreshToken: 86400, Session: 86400, DeviceCode: 600 },
  routes: options.routes ?? {},
  findAccount: async (_ctx, id) => ({ accountId: id, claims: async () => ({ sub: id, email: `${id}@example.test` }) }),
  cookies: { keys: ['only for tests'] },
});

provider.use(async (ctx, next) => {
  await next();
  if (ctx.oidc?.route !== 'token') return;
  const grant = ctx.oidc.params?.grant_type ?? 'none';
  count(ctx.status === 200 ? `${grant}.granted` : `${grant}.refused`);
  if (ctx.status === 200) ctx.body = { ...ctx.body, ...extra };
});
provider.on('server_error', (_ctx, error) => console.error(error));

const handler = provider.callback();
const server = http.createServer((request, response) => {
  const answer = (value) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(value));
  };
  if (request.url === '/_control/counts') return answer(counts);
  if (request.url === '/_control/forget') {
    store.clear();
    byGrant.clear();
    return answer({ forgotten: true });
  }
  if (request.url === '/_control/extra') {
    let text = '';
    request.on('data', (part) => { text += part; });
    return request.on('end', () => { extra = JSON.parse(text); answer({ extra }); });
  }
  return handler(request, response);
});
server.listen(options.port, '127.0.0.1', () => console.log(JSON.stringify({ ready: options.issuer })));
