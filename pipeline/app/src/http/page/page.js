'use strict';
// Shows /v1/status once a second, and the aliases from /v1/routes. Text is only ever set as text, because names in it come from events.

const REFRESH_MS = 1000;
// What is older than this is shown as old: a look that takes so long has missed two others.
const OLD_MS = 3000;
const GRAPH_POINTS_MAX = 120;
const VERDICTS = {
  keeping_up: ['keeping up', 'good'],
  catching_up: ['catching up', 'busy'],
  frozen: ['held by the operator', 'busy'],
  draining: ['shutting down', 'busy'],
  braked: ['braked', 'bad'],
  database_away: ['the database is away', 'bad'],
  stream_stopped: ['the stream takes no events', 'bad'],
  stalled: ['stalled', 'bad'],
  flooding: ['flooding', 'bad'],
  halted: ['halted', 'bad'],
};
const rates = new Map();
// What a command on that machine needs behind its arguments to mean this process.
let options = '';
const byId = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat('en');

function number(value) {
  if (value === null || value === undefined) return 'unknown';
  return whole.format(value >= 10 ? Math.round(value) : Math.round(value * 10) / 10);
}

function bytes(value) {
  if (value === null || value === undefined) return 'unknown';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

function ms(value) {
  if (value === null || value === undefined) return 'none in the last 10 s';
  return value >= 10000 ? `${number(value / 1000)} s` : `${whole.format(value)} ms`;
}

function seconds(value) {
  if (value === null || value === undefined) return 'unknown';
  if (value === 0 || value >= 1 && value < 120) return `${number(value)} s`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return value < 7200 ? `${number(value / 60)} min` : `${number(value / 3600)} h`;
}

// Tiles are made once and then only change their text, so that a selection in them survives.
function tiles(list, values) {
  values.forEach(([name, value, more], index) => {
    if (!list.children[index]) {
      const tile = document.createElement('div');
      const definition = document.createElement('dd');
      definition.append(document.createElement('span'), document.createElement('small'));
      tile.append(document.createElement('dt'), definition);
      list.append(tile);
    }
    const [term, definition] = list.children[index].children;
    set(term, name);
    set(definition.children[0], value);
    set(definition.children[1], more || '');
  });
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function graph(section, name, rate) {
  const points = rates.get(name) || [];
  points.push(rate);
  if (points.length > GRAPH_POINTS_MAX) points.shift();
  rates.set(name, points);
  const top = Math.max(1, ...points);
  const step = 300 / (GRAPH_POINTS_MAX - 1);
  const shape = points.map((value, index) => `${(index * step).toFixed(1)},${(46 - (44 * value) / top).toFixed(1)}`);
  section.querySelector('polyline').setAttribute('points', shape.join(' '));
  const text = `events per second over the last ${points.length} s, highest ${number(top)}`;
  section.querySelector('[data-graph]').setAttribute('aria-label', text);
  set(section.querySelector('[data-caption]'), text);
}

function command(words) {
  return `millstream ${words} ${options}`.trimEnd();
}

function sectionOf(index) {
  const main = byId('pipelines');
  if (!main.children[index]) main.append(byId('pipeline').content.cloneNode(true));
  return main.children[index];
}

function showPipeline(pipeline, index) {
  const section = sectionOf(index);
  const part = (name) => section.querySelector(`[data-${name}]`);
  const [words, kind] = VERDICTS[pipeline.verdict] || [pipeline.verdict, 'bad'];
  set(part('name'), pipeline.name);
  const left = pipeline.seconds_left ? `, ${seconds(pipeline.seconds_left)} left` : '';
  set(part('verdict'), words + left);
  part('verdict').className = `verdict ${kind}`;
  set(part('reason'), pipeline.reason || '');
  const recent = pipeline.recent;
  const filtered = Object.entries(pipeline.filtered).map(([reason, count]) => `${number(count)} ${reason}`);
  tiles(part('tiles'), [
    ['events per second', number(recent.records_per_second), `${number(pipeline.records)} since the start`],
    ['records in a batch, measured', recent.batch_records.p50 === null ? 'none now' : number(recent.batch_records.p50), `${number(recent.transactions_per_second)} transactions/s`],
    ['lag', seconds(pipeline.lag_seconds), `${number(pipeline.lag_records)} records`],
    ['freshness p50', ms(recent.freshness_ms.p50), `goal ${ms(pipeline.freshness_goal_ms)}`],
    ['freshness p99', ms(recent.freshness_ms.p99), pipeline.freshness_ms.max === null ? '' : `worst so far ${ms(pipeline.freshness_ms.max)}`],
    ['written', number(pipeline.written), `${number(pipeline.retries)} retries`],
    ['filtered', number(pipeline.filtered_total), filtered.join(', ')],
    ['quarantined', number(pipeline.quarantined), pipeline.quarantined ? `see ${command('quarantine ls')}` : ''],
  ]);
  graph(section, pipeline.name, recent.records_per_second);
}

// A token of one store sees how its pipelines keep up, and no figures of others.
function showLimited(pipeline, index) {
  const section = sectionOf(index);
  const part = (name) => section.querySelector(`[data-${name}]`);
  const [words, kind] = VERDICTS[pipeline.verdict] || [pipeline.verdict, 'bad'];
  set(part('name'), pipeline.name);
  set(part('verdict'), words);
  part('verdict').className = `verdict ${kind}`;
  tiles(part('tiles'), [['lag', seconds(pipeline.lag_seconds), `goal ${ms(pipeline.freshness_goal_ms)}`]]);
  part('graph').setAttribute('hidden', '');
}

// What keeps more from being written, for people.
const LIMITS = {
  application_limited: 'All caught up: events are written as they arrive.',
  partition_limited: 'There is more, but in partitions whose lanes are busy.',
  database_limited: 'The database writes no more, however much it is given.',
  concurrency_limited: 'More at a time would write more: the limit is the configured number of transactions, or what was set while it runs.',
  capped: 'The cap on rows per second holds it back.',
  braked: 'Slowed down, because the database was overloaded, or did not answer.',
  frozen: 'Held where it is by the operator.',
  halted: 'Nothing is written until you decide.',
  database_away: 'Nothing is written, because the database is away.',
  stream_stopped: 'Nothing arrives, because the stream takes no events.',
  stalled: 'Nothing is written, although something waits.',
  flooding: 'A store with too many bad events is paused, the others go on.',
  draining: 'What is in flight is finished.',
};

function spaced(name) {
  return name.replaceAll('_', ' ');
}

function showPace(pace) {
  const changed = pace.configured ? ' Limits were set while it runs.' : '';
  set(byId('pace-reason'), (LIMITS[pace.limited_by] || spaced(pace.limited_by)) + changed);
  const bears = pace.ceiling === null ? '' : `, the database bears ${number(pace.ceiling)}`;
  tiles(byId('pace-tiles'), [
    ['transactions at a time', number(pace.concurrency), `${number(pace.concurrency_min)} to ${number(pace.concurrency_max)}${bears}`],
    ['records allowed in each', number(pace.records), `configured are at most ${number(pace.records_max)}`],
    ['waits for more records', `at most ${ms(Math.round(pace.linger_ms))}`, pace.rests ? 'rests as long as it writes' : ''],
    ['under way', number(pace.in_flight), `${number(pace.waiting)} batches wait`],
    ['processes', number(pace.processes), 'that write to this database'],
  ]);
  const list = byId('decisions');
  pace.decisions.forEach((decision, index) => {
    if (!list.children[index]) list.append(document.createElement('li'));
    const figures = Object.entries(decision.figures).map(([name, value]) => `${spaced(name)} ${figure(value)}`);
    const why = figures.length ? `: ${figures.join(', ')}` : '';
    const change = `${decision.knob} ${number(decision.from)} \u2192 ${number(decision.to)}`;
    set(list.children[index], `${decision.at.slice(11, 19)} ${change}, ${spaced(decision.reason)}${why}`);
  });
}

function figure(value) {
  return whole.format(Math.abs(value) < 10 ? Math.round(value * 1000) / 1000 : Math.round(value));
}

// Aliases are asked for one by one, so that only the first of them are shown, and not at each look.
const ALIASES_MAX = 10;
const ROUTES_EVERY_MS = 2000;
const GENERATIONS_SHOWN = 5;
const TIME_LINE_MS = 600000;
// Colours of what an alias meant, in turn.
const TONES = 4;
// Why a task gets no requests.
const STANDINGS = {
  routable: 'serving', draining: 'draining', gone: 'gone', not_running: 'not running yet', no_deploy: 'of no revision',
  no_address: 'without address', no_host_address: 'on a host of unknown address', no_port: 'without port',
  shadowed: 'whose address a later task has', address_refused: 'at an address that may not be used',
  unhealthy: 'unhealthy', unknown_health: 'not checked yet',
};
let routesAskedAt = 0;

function standings(tasks) {
  const counts = Object.entries(tasks).filter(([, count]) => count);
  return counts.map(([state, count]) => `${number(count)} ${STANDINGS[state] || spaced(state)}`).join(', ') || 'no tasks';
}

function showRoutes(routes) {
  byId('routes').closest('section').hidden = !routes;
  if (!routes) return;
  const kind = routes.state === 'following' ? 'good' : routes.state === 'stalled' ? 'bad' : 'busy';
  set(byId('routes-state'), routes.state);
  byId('routes-state').className = `verdict ${kind}`;
  set(byId('routes-reason'), routes.away ? `The routing tables cannot be read: ${routes.away}. What was read last is served on.` : '');
  const gateway = routes.gateway;
  tiles(byId('routes-tiles'), [
    ['services', number(routes.services), ''],
    ['tasks', number(routes.tasks.routable || 0), standings(routes.tasks)],
    ['change applied', number(routes.seq), `read ${seconds(routes.age_seconds)} ago`],
    ['stream read to its end', `${seconds(routes.unread_age_seconds)} ago`, routes.unread || ''],
    ['held aliases', number(routes.held_total), routes.held_total ? 'the former generation is served' : ''],
    ...(gateway ? [
      ['gateway requests', number(gateway.requests), gateway.address || ''],
      ['failed', number(gateway.failed), `${number(gateway.retried)} tried again, ${number(gateway.refused)} refused`],
    ] : []),
  ]);
  if (Date.now() - routesAskedAt < ROUTES_EVERY_MS) return;
  routesAskedAt = Date.now();
  showAliases(routes).catch((error) => set(byId('aliases-more'), `The aliases cannot be shown: ${error.message}`));
}

async function asked(path) {
  const answer = await ask(path);
  if (!answer.ok) throw new Error(`${path}: answer ${answer.status}`);
  return answer.json();
}

async function showAliases(routes) {
  const list = byId('aliases');
  const page = await asked(`v1/routes?limit=${ALIASES_MAX}`);
  const found = await Promise.all(page.items.map(async ({ service, alias }) => {
    const path = `v1/routes/${encodeURIComponent(service)}/${encodeURIComponent(alias)}`;
    return Promise.all([asked(path), asked(`${path}/history`)]);
  }));
  while (list.children.length > found.length) list.lastElementChild.remove();
  found.forEach(([alias, history], index) => {
    if (!list.children[index]) list.append(byId('alias').content.cloneNode(true));
    showAlias(list.children[index], alias, history.items, routes);
  });
  set(byId('aliases-more'), page.next === null ? '' : `There are more aliases than these ${number(page.items.length)}: ${command('route ls')}`);
}

function meant(alias) {
  if (alias.deleted) return 'nothing';
  const targets = alias.targets || [];
  const sum = targets.reduce((all, target) => all + target.weight, 0);
  const share = (target) => (targets.length > 1 ? ` ${number(100 * target.weight / sum)} %` : '');
  return targets.map((target) => target.revision + share(target)).join(', ') || 'every live revision';
}

function showAlias(section, alias, generations, routes) {
  const part = (name) => section.querySelector(`[data-${name}]`);
  set(part('name'), `${alias.service} / ${alias.alias} \u2192 ${meant(alias)}`);
  const held = routes.held.find((one) => one.service === alias.service && one.alias === alias.alias);
  const others = alias.gateways.filter((one) => one.state === 'held').map((one) => `${one.gateway}: ${one.reason}`);
  const why = held ? held.reasons : others;
  set(part('serves'), `generation ${alias.generation}${why.length ? ' is held' : ''}`);
  part('serves').className = `verdict ${why.length ? 'busy' : 'good'}`;
  set(part('reason'), why.length ? `Waits for: ${why.join('; ')}` : '');
  const revisions = part('revisions');
  while (revisions.children.length > alias.revisions.length) revisions.lastElementChild.remove();
  alias.revisions.forEach((revision, index) => {
    if (!revisions.children[index]) {
      const item = document.createElement('li');
      item.append(document.createElement('b'), document.createElement('span'));
      revisions.append(item);
    }
    const [name, tasks] = revisions.children[index].children;
    set(name, revision.revision);
    set(tasks, `: ${standings(revision.tasks)}`);
  });
  showFlips(part, generations);
}

// The generations of the last minutes, side by side: a change of colour is a change of what is served.
function showFlips(part, generations) {
  const now = Date.now();
  const oldest = generations.length ? Date.parse(generations[generations.length - 1].valid_from) : now;
  const from = Math.max(now - TIME_LINE_MS, Math.min(oldest, now - 60000));
  const place = (at) => 300 * Math.min(1, Math.max(0, (at - from) / (now - from)));
  const spans = generations.map((one) => [one, place(Date.parse(one.valid_from)), place(one.valid_to ? Date.parse(one.valid_to) : now)]);
  const shown = spans.filter(([, start, end]) => end > start);
  const names = [...new Set(generations.map(meant).reverse())];
  part('flips').replaceChildren(...shown.map(([one, start, end]) => {
    const bar = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    const box = { x: start, width: end - start, y: 2, height: 20 };
    for (const [name, value] of Object.entries(box)) bar.setAttribute(name, value.toFixed(1));
    bar.setAttribute('class', one.deleted ? 'none' : `tone${names.indexOf(meant(one)) % TONES}`);
    const title = document.createElementNS('http://www.w3.org/2000/svg', 'title');
    title.textContent = `generation ${one.generation}: ${meant(one)}`;
    bar.append(title);
    return bar;
  }));
  const text = `what it meant in the last ${seconds((now - from) / 1000)}`;
  part('flips').setAttribute('aria-label', text);
  set(part('caption'), text);
  const list = part('generations');
  const latest = generations.slice(0, GENERATIONS_SHOWN);
  while (list.children.length > latest.length) list.lastElementChild.remove();
  latest.forEach((one, index) => {
    if (!list.children[index]) list.append(document.createElement('li'));
    set(list.children[index], `${one.valid_from.slice(0, 19).replace('T', ' ')} generation ${one.generation}: ${meant(one)}`);
  });
}

function showParts(status) {
  const { postgres, http } = status;
  if (status.limited_to) {
    const limits = Object.entries(status.limited_to).filter(([, value]) => value !== null);
    const counted = postgres.objects === undefined ? [] : [['objects', number(postgres.objects), bytes(postgres.bytes)]];
    const taken = http ? [['accepted over HTTP', number(http.accepted_events), `${number(http.refused_events)} refused`]] : [];
    tiles(byId('process'), [
      ['this token sees', limits.map(([name, value]) => `${name} ${value}`).join(', '), ''],
      ['database', postgres.reachable ? 'reachable' : 'not reachable', ''],
      ...counted,
      ...taken,
    ]);
    return;
  }
  const unknown = postgres.unknown_size ? `, ${number(postgres.unknown_size)} of unknown size` : '';
  tiles(byId('process'), [
    ['objects', number(postgres.objects), `${bytes(postgres.bytes)}${unknown}`],
    ['database', postgres.reachable ? 'reachable' : 'not reachable', postgres.error || ''],
    ['accepted over HTTP', number(http.accepted_events), `${number(http.refused_events)} refused`],
    ['memory', bytes(status.process.resident_bytes), `processor time ${seconds(status.process.cpu_seconds)}`],
    ['data', status.data_dir, `version ${status.version}`],
  ]);
}

function showCommands(status) {
  const list = byId('commands');
  if (list.children.length) return;
  const here = location.origin;
  const access = sessionStorage.getItem('token') ? " -H 'authorization: Bearer TOKEN'" : '';
  const event = '{"specversion":"1.0","id":"1","source":"/shell","type":"millstream.object.created","time":"'
    + new Date().toISOString() + '","data":{"bucket":"uploads","key":"hello.txt","size":5}}';
  const lines = [
    ...(status.postgres.psql ? [status.postgres.psql] : []),
    `curl${access} -H 'content-type: application/json' -d '${event}' ${here}/v1/events`,
    `curl${access} '${here}/v1/buckets/uploads/objects?limit=10'`,
    `curl${access} '${here}/v1/buckets/uploads/count'`,
  ];
  for (const line of lines) {
    const item = document.createElement('li');
    const code = document.createElement('code');
    const button = document.createElement('button');
    code.textContent = line;
    code.tabIndex = 0;
    button.textContent = 'Copy';
    button.type = 'button';
    button.addEventListener('click', () => copy(line, button, code));
    item.append(code, button);
    list.append(item);
  }
}

// The first thing to read: the state, why, since when, and what to do next.
function summary(status) {
  const [words, kind] = VERDICTS[status.state] || [spaced(status.state), 'bad'];
  const left = status.seconds_left ? `, ${seconds(status.seconds_left)} left` : '';
  lastWords = words + left;
  set(byId('summary'), lastWords);
  document.title = status.state === 'keeping_up' ? 'millstream' : `${words} - millstream`;
  byId('banner').className = kind;
  const lasts = status.since ? `since ${status.since.slice(0, 10)} ${status.since.slice(11, 19)} UTC, for ${seconds(status.for_seconds)}` : '';
  set(byId('since'), lasts);
  set(byId('why'), status.reason || '');
  byId('next').hidden = !status.next;
  set(byId('next-command'), status.next || '');
  byId('stale').hidden = true;
  document.body.classList.remove('old');
}

// Nothing that is shown is known any more: it goes grey and says how old it is.
const startedAt = Date.now();
let seenAt = 0;
let lastWords = '';
let failure = '';
function unknown() {
  document.body.classList.add('old');
  const age = seenAt ? `last seen ${Math.max(1, Math.round((Date.now() - seenAt) / 1000))} s ago` : 'never seen';
  set(byId('stale'), `No answer${failure ? ` (${failure})` : ''}, ${age}. What is below is old. Is the process there? ${command('status')}`);
  byId('stale').hidden = false;
  set(byId('summary'), seenAt ? `not known, was: ${lastWords}` : 'not known');
  document.title = 'no answer - millstream';
}

// A look may hang; the age is told all the same.
setInterval(() => {
  if (byId('access').hidden && Date.now() - (seenAt || startedAt) > OLD_MS) unknown();
}, REFRESH_MS);

// Nobody may see it without a token.
function withheld() {
  document.body.classList.add('old');
  byId('stale').hidden = true;
  for (const id of ['why', 'since', 'next-command']) set(byId(id), '');
  byId('next').hidden = true;
  set(byId('summary'), 'no figures: a token is needed');
  document.title = 'no figures - millstream';
}

async function copy(line, button, code) {
  try {
    await navigator.clipboard.writeText(line);
    button.textContent = 'Copied';
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = 'Selected';
  }
}

byId('next-copy').addEventListener('click', () => copy(byId('next-command').textContent, byId('next-copy'), byId('next-command')));

// Without credentials of the browser's own, which would otherwise open its window for names and passwords.
function ask(path) {
  const token = sessionStorage.getItem('token');
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  return fetch(path, { headers, cache: 'no-store', credentials: 'omit', signal: AbortSignal.timeout(5000) });
}

// Why a token is not taken; empty when none was shown.
function denied(status) {
  if (status === 403) return 'This token may not see the state: it needs one of the duties read, metrics, operate.';
  return sessionStorage.getItem('token') ? 'This token is not accepted.' : '';
}

let timer;
async function refresh() {
  clearTimeout(timer);
  try {
    const answer = await ask('v1/status');
    const refused = answer.status === 401 || answer.status === 403;
    byId('access').hidden = !refused;
    if (refused) {
      set(byId('denied'), denied(answer.status));
      sessionStorage.removeItem('token');
      withheld();
      // Asked again when there is another token, not before.
      return;
    }
    if (!answer.ok) throw new Error(`answer ${answer.status}`);
    const status = await answer.json();
    seenAt = Date.now();
    failure = '';
    options = status.command_options || '';
    summary(status);
    status.pipelines.forEach(status.limited_to ? showLimited : showPipeline);
    byId('pace').parentElement.hidden = !status.controller;
    if (status.controller) showPace(status.controller);
    showRoutes(status.routes);
    showParts(status);
    showCommands(status);
  } catch (error) {
    failure = error.name === 'TimeoutError' ? 'none within 5 s' : error.message;
    unknown();
  }
  timer = setTimeout(refresh, REFRESH_MS);
}

byId('access').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem('token', byId('token').value.trim());
  set(byId('denied'), '');
  refresh();
});

// A link carries no token, so the page asks and shows the answer itself.
for (const link of document.querySelectorAll('[data-ask]')) {
  link.addEventListener('click', async (event) => {
    if (!sessionStorage.getItem('token')) return;
    event.preventDefault();
    const path = link.getAttribute('href');
    set(byId('asked'), path);
    try {
      const text = await (await ask(path)).text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 1); } catch { /* metrics are no JSON */ }
      set(byId('text'), shown);
    } catch (error) {
      set(byId('text'), `no answer: ${error.message}`);
    }
    byId('answer').hidden = false;
    byId('text').focus();
  });
}
refresh();
