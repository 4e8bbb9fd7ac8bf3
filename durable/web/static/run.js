// One run: what it is, why it waits, what happened, and every way to repair it.
import { useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { asked, at, get, useLook, useMeta } from "./live.js";
import { Ago, Button, Copy, Empty, Failure, Loading, Panel, RunLink, Status, Tabs, Took, clock, duration, exactly, href, html, isOpen, num, plural, quoted, route, say, setQuery, useWindow } from "./parts.js";
import { Payload, Tree, payloadOf } from "./payload.js";
import { VERBS, acceptStep, actOnRun, editPolicy, endStep, verbsFor } from "./acts.js";
import { Timeline, nameOf } from "./timeline.js";
import { restart } from "./restart.js";
import { Messages, Values, ask, send } from "./talk.js";

const STEPS_PER_PAGE = 500;
// A history of any length is stored; so much of it is drawn, and the others are asked for.
const STEPS_LOADED_MAX = 50_000;
const TAIL = 20;
const AGAIN_MS = 3000;

// All steps, page by page: the first page is shown while the others come; then only what is new.
function useSteps(run) {
	const id = run && exactly(run.id);
	const kept = useRef({ id: "" });
	const [state, setState] = useState({ steps: [], attempts: new Map(), error: null });
	const version = run ? `${run.events}:${run.status}:${run.wakes}:${run.steps.length}` : "";
	const [limit, setLimit] = useState(STEPS_LOADED_MAX);
	const [again, setAgain] = useState(0);
	useEffect(() => {
		if (!run) return undefined;
		let stopped = false, timer = 0;
		const load = async () => {
			if (kept.current.id !== id || kept.current.after > run.events) kept.current = { id, steps: [], pending: [], after: 0, attempts: new Map() };
			const mine = kept.current;
			const tell = (isWhole) => {
				const ended = new Set(mine.steps.filter((one) => one.kind === "activity").map((one) => one.step));
				const pending = mine.pending.map((one) => ({ ...one, key: `p-${one.step}` }));
				const known = new Set(pending.map((one) => one.step));
				const dropped = isWhole ? [...mine.attempts].filter(([step]) => !ended.has(step) && !known.has(step)).map(([step, list]) => ({ seq: null, step, kind: "activity", name: "", status: "abandoned", tries: list.length, started: list[0].started, ended: list.at(-1).ended, error: "", label: "", key: `a-${step}` })) : [];
				setState({ steps: [...mine.steps, ...pending, ...dropped], attempts: mine.attempts, error: null });
			};
			try {
				const isFirst = mine.after === 0;
				const head = await get(asked(`runs/${at(id)}/steps`, { limit: isFirst ? STEPS_PER_PAGE : 1 }));
				if (stopped) return;
				mine.pending = head.pending;
				let isTriedAgain = isFirst || head.pending.length > 0;
				if (isFirst) { mine.steps = head.items.map(keyed); mine.after = mine.steps.length; tell(false); }
				else {  // A retry in place drops the last events, and records others in their places.
					mine.after = Math.max(0, mine.after - TAIL);
					mine.steps = mine.steps.slice(0, mine.after);
				}
				while (mine.after < run.events && mine.after < limit) {
					const page = await get(asked(`runs/${at(id)}/steps`, { after: mine.after, limit: 1000 }));
					if (stopped || page.items.length === 0) break;
					isTriedAgain ||= page.items.some((one) => one.tries > 1);
					mine.steps = mine.steps.concat(page.items.map(keyed));
					mine.after = page.items.at(-1).seq;
					if (isFirst) tell(false);
				}
				if (isTriedAgain) {
					const attempts = new Map();
					for (const one of (await get(`runs/${at(id)}/attempts`)).items) attempts.set(one.step, [...(attempts.get(one.step) || []), one]);
					mine.attempts = attempts;
				}
				if (!stopped) tell(mine.after >= run.events);
			} catch (error) { if (!stopped) { setState((before) => ({ ...before, error })); timer = setTimeout(() => setAgain(again + 1), AGAIN_MS); } }
		};
		load();
		return () => { stopped = true; clearTimeout(timer); };
	}, [id, version, limit, again]);
	return { ...state, more: () => setLimit(limit + STEPS_LOADED_MAX), isCut: run && run.events > limit };
}

const keyed = (step) => ({ ...step, key: `e-${step.seq}` });

// -- header --

function Header({ run, meta }) {
	const verbs = meta?.is_read_only ? [] : verbsFor(run.status);
	const open = isOpen(run.status);
	const code = run.codes.at(-1)?.code;
	return html`<header class="run-head"><div class="run-title"><h1>${run.workflow}</h1><span class="mono run-id">${run.id}</span><${Copy} text=${run.id} /><${Status} of=${run.status} /></div>
		<dl class="facts"><div><dt>started</dt><dd><${Ago} time=${run.started || run.created} /></dd></div><div><dt>${open ? "since" : "took"}</dt><dd><${Took} from=${run.started || run.created} to=${run.closed} /></dd></div>
			<div><dt>events</dt><dd>${num(run.events)}</dd></div>${run.worker && html`<div><dt>worker</dt><dd>${run.worker}</dd></div>`}${code && html`<div><dt>code</dt><dd class="mono" title=${code}>${code.slice(0, 8)}</dd></div>`}
			${run.deadline && html`<div><dt>deadline</dt><dd><${Ago} time=${run.deadline} /></dd></div>`}${run.lost > 0 && html`<div><dt>lost workers</dt><dd>${run.lost}</dd></div>`}
			${run.parent && html`<div><dt>parent</dt><dd><${RunLink} id=${run.parent} /></dd></div>`}${run.source && html`<div><dt>${run.cause} from</dt><dd><${RunLink} id=${run.source} /></dd></div>`}
			${run.followed_by.length > 0 && html`<div><dt>goes on as</dt><dd>${run.followed_by.map((id) => html`<${RunLink} key=${id} id=${id} /> `)}</dd></div>`}
			${run.tags.length > 0 && html`<div><dt>tags</dt><dd>${run.tags.map((tag) => html`<a class="tag" key=${tag} href=${href([], { q: `tag:${quoted(tag)}` })}>${tag}</a>`)}</dd></div>`}
			${Object.entries(run.attributes).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${String(value)}</dd></div>`)}</dl>
		${!meta?.is_read_only && html`<div class="buttons">
			${verbs.map((verb) => html`<${Button} key=${verb} class=${VERBS[verb].isDanger ? "danger" : verb === verbs[0] ? "main" : ""} onClick=${() => (verb === "restart" ? restart(run) : actOnRun(run.id, verb))}>${verb === "restart" ? "Restart from…" : VERBS[verb].label}<//>`)}
			${open && html`<${Button} onClick=${() => send(run, "signal")}>Signal…<//><${Button} onClick=${() => send(run, "update")}>Update…<//>`}<${Button} onClick=${() => ask(run)}>Query…<//>
			<${More} run=${run} /></div>`}</header>`;
}

function More({ run }) {
	const copy = async (text) => { try { await navigator.clipboard.writeText(text); say("copied"); } catch { say(text); } };
	return html`<details class="menu right" onClick=${(event) => { if (event.target.closest("button, a")) event.currentTarget.open = false; }}><summary aria-label="More">⋯</summary><div class="menu-body">
		<${Button} onClick=${() => copy(`durable show '${run.id.replaceAll("'", "'\\''")}'`)}>Copy as a command<//><${Button} onClick=${() => copy(`run = await client.get(${JSON.stringify(run.id)})`)}>Copy as Python<//>
		<a href=${href(["start"], { like: run.id })}>Start one like this</a><a href=${href([], { q: `workflow:${JSON.stringify(run.workflow)}` })}>Runs of this workflow</a>
		<a href=${href(["compare"], { one: run.id, other: run.source || "" })}>Compare with…</a></div></details>`;
}

function Why({ run, onStep, meta }) {
	const open = isOpen(run.status);
	const retrying = run.steps.filter((one) => ["retrying", "exhausted", "intent", "later"].includes(one.status));
	const bad = ["blocked", "failed"].includes(run.status) ? "bad" : ["retrying", "paused", "cancelled", "terminated"].includes(run.status) ? "warn" : "";
	if (!run.why && !retrying.length && !run.issue) return null;
	const late = !open && run.wakes ? null : run.wakes;
	return html`<section class=${"banner " + bad} aria-label="Why">
		<div class="why-line"><b>${open ? `${run.status === "running" ? "Runs" : "Waits"}:` : `${run.status}:`}</b> <span class="why-text">${run.why || "–"}</span> ${late && html`<span class="dim">(<${Ago} time=${late} />)</span>`}
			${run.issue && html` <a class="tag" href=${href(["issues", run.issue])}>${run.issue}</a>`}</div>
		${run.difference && html`<${Difference} run=${run} meta=${meta} />`}
		${retrying.slice(0, 5).map((one) => html`<div class="why-step" key=${one.step}><${Button} class="link" onClick=${() => onStep(one)}>step ${one.step} ${one.name}<//> <${Status} of=${one.status} /> ${plural(one.tries, "try", "tries")}${one.next_try && html`, again <${Ago} time=${one.next_try} />`}${one.error && html`: <span class="why-text">${one.error}</span>`}</div>`)}
		${retrying.length > 5 && html`<div class="dim">and ${retrying.length - 5} more steps</div>`}
		${run.waits_for.length > 1 && html`<ul class="waits">${run.waits_for.map((one) => html`<li key=${one}>${one}</li>`)}</ul>`}</section>`;
}

function Difference({ run, meta }) {
	const one = run.difference;
	return html`<table class="difference"><tbody><tr><th scope="row">recorded</th><td>step ${one.step}, event ${one.event}</td><td class="mono wrap">${one.recorded}</td><td>${one.at && html`<${Ago} time=${one.at} />`}</td></tr>
		<tr><th scope="row">code now</th><td></td><td class="mono wrap">${one.code}</td><td class="mono">${one.where}</td></tr></tbody></table>
		<p class="dim">Restore the call, or guard the new one with <code>durable.patched(…)</code>: it goes on by itself when code that fits starts.</p>
		${!meta?.is_read_only && one.step && html`<div class="buttons"><${Button} onClick=${() => acceptStep(run.id, one.step)}>Accept the recorded result<//><${Button} onClick=${() => restart(run, one.step)}>Restart from step ${one.step}…<//></div>`}`;
}

// -- one step --

function StepPanel({ run, step, meta, onClose }) {
	const me = exactly(run.id);
	const path = asked(`runs/${at(me)}/step`, step.seq ? { seq: step.seq } : { step: step.step });
	const { data, error } = useLook(path, step.seq ? 0 : 2000);
	const can = !meta?.is_read_only;
	const isPending = step.seq == null && step.status !== "abandoned";
	const isPromise = run.promises.find((one) => one.step === step.step);
	return html`<aside class="step-panel panel" aria-label=${`Step ${step.step}`}><header><h2><span class="mono">${step.step || "–"}</span> <span class="clip">${nameOf(step)}</span></h2><${Button} class="quiet" aria-label="Close" onClick=${onClose}>✕<//></header>
		<p><${Status} of=${step.status} /> ${step.tries > 1 && html`<span>${plural(step.tries, "try", "tries")}</span>`} ${step.started && html`<span class="dim"><${Took} from=${step.started} to=${step.ended} /></span>`} ${step.next_try && html`<span>again <${Ago} time=${step.next_try} /></span>`} ${step.seq && html`<span class="dim">event ${step.seq}</span>`} ${step.ended && html`<span class="dim">at ${clock(step.ended)}</span>`}</p>
		${can && html`<div class="buttons">
			${isPending && step.status === "retrying" && html`<${Button} class="main" onClick=${() => actOnRun(run.id, "retry")}>Retry now<//>`}
			${isPending && html`<${Button} onClick=${() => endStep(run.id, step.step)}>End by hand…<//><${Button} onClick=${() => editPolicy(run.id, step.step)}>Policy…<//>`}
			${isPromise && html`<${Button} class="main" onClick=${() => send(run, "answer", isPromise)}>Answer…<//>`}
			${step.seq && html`<${Button} onClick=${() => restart(run, step)}>Restart run from here…<//>`}</div>`}
		<${Failure} error=${error} />
		${(data?.error || step.error) && html`<p class="bad-text wrap">${data?.error || step.error}</p>`}
		${data && html`<${Attempts} attempts=${data.attempts} /><${Payload} key=${"a" + step.key} label="arguments" text=${data.arguments} source=${step.seq && payloadOf(me, "arguments", step.seq)} /><${Payload} key=${"r" + step.key} label="result" text=${data.result} source=${step.seq && payloadOf(me, "result", step.seq)} />
			${data.code && html`<p class="dim">code <span class="mono">${data.code}</span></p>`}`}
		${step.kind === "child" && run.children.filter((one) => one.step === step.step).map((one) => html`<p key=${one.id}>child <${RunLink} id=${one.id} /> <${Status} of=${one.status} /></p>`)}</aside>`;
}

function Attempts({ attempts }) {
	if (!attempts.length) return null;
	return html`<details open=${attempts.length <= 3}><summary>${plural(attempts.length, "failed attempt")}${attempts[0].number > 1 && attempts.length >= 100 ? ", the newest" : ""}</summary>
		${[...attempts].reverse().map((one, place) => html`<details key=${one.number} class="attempt" open=${place === 0}><summary><b>${one.number}</b> ${one.state !== "failed" && one.state} <span class="clip">${one.error}</span> <span class="dim">${clock(one.started)}, ${duration(Date.parse(one.ended) - Date.parse(one.started))}</span></summary><${Traceback} text=${one.traceback} /></details>`)}</details>`;
}

export const Traceback = ({ text }) => text ? html`<pre class="trace mono" tabindex="0">${text.slice(0, 100_000).trimEnd()}</pre>` : html`<p class="dim">no traceback is kept</p>`;

// -- tabs --

function Steps({ steps, onPick, picked }) {
	const ref = useRef();
	const [first, last] = useWindow(steps.length, 30, ref);
	return html`<div class="grid-head g-steps" aria-hidden="true"><span>#</span><span>Step</span><span>Name</span><span>Status</span><span class="num">Tries</span><span class="num">Took</span><span class="num">Ended</span><span>Error</span></div>
		<div class="grid-rows" ref=${ref} style=${{ height: `${steps.length * 30}px` }} role="list" aria-label="Steps">${steps.slice(first, last).map((one, place) => html`
		<div key=${one.key} role="listitem" class=${"grid-row g-steps" + (one.key === picked ? " picked" : "")} style=${{ top: `${(first + place) * 30}px` }}>
			<span class="dim num">${one.seq ?? ""}</span><span class="mono clip">${one.step}</span><${Button} class="link clip" onClick=${() => onPick(one)}>${nameOf(one)} <span class="dim">${one.label}</span><//><span><${Status} of=${one.status} /></span><span class="num">${one.tries || ""}</span>
			<span class="num">${one.started && one.ended ? duration(Date.parse(one.ended) - Date.parse(one.started)) : ""}</span><span class="num">${one.ended ? clock(one.ended) : one.next_try ? html`<${Ago} time=${one.next_try} />` : ""}</span><span class="clip bad-text" title=${one.error}>${one.error}</span></div>`)}</div>`;
}

function Events({ id, run }) {
	const [after, setAfter] = useState(0);
	const { data, error } = useLook(asked(`runs/${at(id)}/events`, { after, limit: 100 }));
	return html`<${Failure} error=${error} />${data && html`<ol class="events" start=${after + 1}>${data.items.map((one) => html`<li key=${one.seq}><details><summary><span class="num dim">${one.seq}</span> <span class="mono">${one.kind}</span> <b class="clip">${one.name}</b> <span class="mono dim">${one.step}</span> <${Status} of=${one.status} /> <span class="dim">${clock(one.at)}</span> ${one.error && html`<span class="bad-text clip">${one.error}</span>`}</summary>
			<${Payload} label="arguments" text=${one.arguments} source=${payloadOf(id, "arguments", one.seq)} /><${Payload} label="result" text=${one.result} source=${payloadOf(id, "result", one.seq)} /></details></li>`)}</ol>
		${data.items.length === 0 && html`<${Empty}>Nothing is recorded yet.</${Empty}>`}
		<div class="pages">${after > 0 && html`<${Button} onClick=${() => setAfter(Math.max(0, after - 100))}>‹ earlier<//>`}<span class="dim">${num(run.events)} events</span>${data.next && html`<${Button} onClick=${() => setAfter(Number(data.next))}>later ›<//>`}</div>`}`;
}

function Family({ id, run }) {
	const { data, error } = useLook(asked(`runs/${at(id)}/family`, { root: "true" }), 2000);
	if (error) return html`<${Failure} error=${error} />`;
	if (!data) return html`<${Loading} />`;
	if (!data.children.length) return html`<${Empty}><p>It started no other run.</p></${Empty}>`;
	return html`<ul class="family" role="tree">${html`<${Member} one=${data} current=${run.id} />`}</ul>`;
}

function Member({ one, current }) {
	return html`<li role="treeitem" aria-expanded=${one.children.length ? "true" : undefined} aria-selected=${one.id === current}><span class=${"member" + (one.id === current ? " current" : "")}><${Status} of=${one.status} /> <${RunLink} id=${one.id} /> <span class="dim">${one.workflow}${one.step && `, step ${one.step}`}</span> <span class="clip dim">${one.why}</span></span>
		${one.children.length > 0 && html`<ul role="group">${one.children.map((child) => html`<${Member} key=${child.id} one=${child} current=${current} />`)}
			${Object.entries(one.folded).map(([workflow, counts]) => html`<li key=${workflow} role="treeitem" class="dim">${workflow}: ${Object.entries(counts).map(([status, count]) => `${num(count)} more ${status}`).join(", ")}</li>`)}</ul>`}</li>`;
}

function Logs({ id }) {
	const [level, setLevel] = useState("");
	const { data, error } = useLook(asked(`runs/${at(id)}/logs`, { limit: 1000 }), 1000);
	if (error) return html`<${Failure} error=${error} />`;
	if (!data) return html`<${Loading} />`;
	const order = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
	const items = data.items.filter((one) => !level || order.indexOf(one.level) >= order.indexOf(level));
	if (!data.items.length) return html`<${Empty}><p>Nothing was logged.</p><p class="dim">What its code says through Python's logging is kept with the run.</p></${Empty}>`;
	return html`<div class="tl-tools"><label>at least <select value=${level} onChange=${(event) => setLevel(event.target.value)}><option value="">everything</option>${order.slice(1).map((one) => html`<option key=${one}>${one}</option>`)}</select></label></div>
		<ol class="logs mono">${items.map((one) => html`<li key=${one.n} class=${"log-" + one.level.toLowerCase()}><time class="dim" datetime=${one.at}>${clock(one.at)}</time> <b>${one.level}</b> <span class="dim">${one.logger}${one.step && ` ${one.step}`}${one.attempt > 1 ? `×${one.attempt}` : ""}</span> <span class="wrap">${one.text}</span></li>`)}</ol>`;
}

function Code({ id, run, meta }) {
	const sources = useLook(`runs/${at(id)}/code`, 0);
	const stack = useLook(meta?.has_code && isOpen(run.status) ? `runs/${at(id)}/stack` : null, 3000);
	return html`<section><h2>Where it waits</h2>${!meta?.has_code ? html`<p class="dim">This needs the code here: <code>durable ui --app APP:ENGINE</code>. The run is replayed up to now; nothing is done.</p>`
			: !isOpen(run.status) ? html`<p class="dim">It has ended.</p>` : stack.error ? html`<${Failure} error=${stack.error} />` : html`<pre class="trace mono" tabindex="0">${stack.data?.text || "…"}</pre>`}</section>
		<section><h2>The code that ran</h2>${sources.error ? html`<${Failure} error=${sources.error} />` : !sources.data ? html`<${Loading} />` : !sources.data.items.length ? html`<p class="dim">Its source is not kept in this file.</p>`
			: sources.data.items.map((one) => html`<details key=${one.code} open=${one === sources.data.items.at(-1)}><summary><span class="mono">${one.code}</span> <span class="dim">from event ${one.event}, ${one.place}</span></summary><pre class="code mono" tabindex="0">${numbered(one.text, one.line)}</pre></details>`)}</section>`;
}

const numbered = (text, line) => text.replace(/\n$/, "").split("\n").map((one, place) => `${String(line + place).padStart(5)}  ${one}`).join("\n");

function Audit({ run }) {
	if (!run.audit.length) return html`<${Empty}><p>Nobody did anything to it by hand.</p></${Empty}>`;
	return html`<table class="plain"><thead><tr><th>When</th><th>What</th><th>Who</th><th>Why</th><th>Details</th></tr></thead><tbody>${run.audit.map((one, place) => html`<tr key=${place}><td><${Ago} time=${one.at} /></td><td>${one.verb}</td><td class="mono">${one.who}</td><td>${one.why}</td><td class="mono wrap">${one.details === "{}" ? "" : one.details}</td></tr>`)}</tbody></table>`;
}

function Whole({ run }) {
	return html`<${Copy} text=${JSON.stringify(run, null, 2)} label="copy all" /><${Tree} value=${run} />`;
}

// -- the page --

export function Run({ id }) {
	const { data: run, error } = useLook(`runs/${at(id)}`);
	const meta = useMeta();
	const found = useSteps(run);
	const me = run && exactly(run.id);
	const tab = route.value.query.get("tab") || "timeline";
	const wanted = route.value.query.get("step") || "";
	const picked = useMemo(() => found.steps.find((one) => one.key === wanted) || found.steps.find((one) => one.step === wanted.replace(/^[pa]-/, "")), [found.steps, wanted]);
	const pick = (step, key) => setQuery({ step: step ? key || step.key : "" });
	const pickStep = (step) => { const one = found.steps.find((each) => each.step === step.step && each.seq == null) || step; pick(one); };
	if (error && (!run || error.code === "not_found")) return html`<${Failure} error=${error} /><p><a href=${href([])}>All runs</a></p>`;
	if (!run) return html`<${Loading} />`;
	const messages = run.updates.length + run.promises.length + run.dead_letters.length;
	const tabs = [["timeline", "Timeline"], ["steps", "Steps", run.events], ["events", "Events"], ["messages", "Messages", messages || null], ["children", "Family", run.children.length || null], ["values", "Values", run.values.length + run.streams.length || null],
		["logs", "Logs"], ["code", "Code"], ["payloads", "Input & result"], ["audit", "Audit", run.audit.length || null], ["json", "JSON"]];
	const withSteps = tab === "timeline" || tab === "steps";
	return html`<${Header} run=${run} meta=${meta} /><${Why} run=${run} meta=${meta} onStep=${pickStep} />
		${error && html`<${Failure} error=${error} />`}
		${run.traceback && html`<details class="failure" open=${!picked}><summary>Traceback</summary><${Traceback} text=${run.traceback} /></details>`}
		<${Tabs} tabs=${tabs} current=${tab} onPick=${(name) => setQuery({ tab: name === "timeline" ? "" : name })} />
		<${Panel} of=${tab}><div class=${withSteps && picked ? "split" : ""}><div class="split-main">
			${withSteps && found.error && html`<${Failure} error=${found.error} />`}
			${withSteps && !found.steps.length && (run.events ? html`<${Loading} />` : html`<${Empty}><p>No step has ended yet.</p>${isOpen(run.status) && html`<p class="dim">What is in hand is shown once it ends, waits or is tried again.</p>`}</${Empty}>`)}
			${tab === "timeline" && found.steps.length > 0 && html`<${Timeline} key=${me} steps=${found.steps} attempts=${found.attempts} run=${run} picked=${picked?.key} onPick=${pick} />`}
			${tab === "steps" && found.steps.length > 0 && html`<${Steps} steps=${found.steps} picked=${picked?.key} onPick=${pick} />`}
			${withSteps && found.isCut && html`<p class="center"><${Button} onClick=${found.more}>Load more of ${num(run.events)} events<//></p>`}
			${tab === "events" && html`<${Events} key=${me} id=${me} run=${run} />`}
			${tab === "messages" && html`<${Messages} run=${run} meta=${meta} />`}
			${tab === "children" && html`<${Family} id=${me} run=${run} />`}
			${tab === "values" && html`<${Values} key=${me} id=${me} run=${run} />`}
			${tab === "logs" && html`<${Logs} id=${me} />`}
			${tab === "code" && html`<${Code} id=${me} run=${run} meta=${meta} />`}
			${tab === "payloads" && html`<div key=${me}><${Payload} label="arguments" text=${run.arguments} source=${payloadOf(me, "arguments")} /><${Payload} label=${isOpen(run.status) ? "result (none yet)" : "result"} text=${run.result} source=${run.result && payloadOf(me, "result")} /></div>`}
			${tab === "audit" && html`<${Audit} run=${run} />`}
			${tab === "json" && html`<${Whole} run=${run} />`}</div>
			${withSteps && picked && html`<${StepPanel} key=${me + picked.key} run=${run} step=${picked} meta=${meta} onClose=${() => pick(null)} />`}</div></${Panel}>`;
}

