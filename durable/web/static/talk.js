// What a run and the outside say to each other: signals, updates, queries, promises, values, streams.
import { useEffect, useState } from "./vendor/preact.js";
import { asked, at, get, post, useLook, useMeta } from "./live.js";
import { ActForm, Ago, Button, Copy, Empty, Failure, Field, Status, clock, html, openDialog, plural, say } from "./parts.js";
import { Payload, Tree } from "./payload.js";
import { ValueForm, first } from "./forms.js";

// -- saying --

function useDeclared(kind) {
	const forms = useLook("forms", 0).data;
	return (forms?.messages || []).filter((one) => one.kind === kind);
}

function SendForm({ run, kind, promise, close }) {
	const declared = useDeclared(kind);
	const waited = run.waits_for.map((one) => /^signal (\S+)/.exec(one)?.[1]).filter(Boolean);
	const [name, setName] = useState(promise?.name || (kind === "signal" ? waited[0] || "" : ""));
	const [typed, setTyped] = useState(null);
	const [error, setError] = useState("");
	const [rejects, setRejects] = useState(false);
	const [message, setMessage] = useState("");
	const meta = useMeta();
	const promised = useLook(promise && meta?.has_code ? asked(`runs/${at(run.id)}/promise`, { name: promise.name }) : null, 0).data;
	const schema = promise ? promised?.schema : declared.find((one) => one.name === name)?.schema;
	// What the form shows is what is sent; what was typed stays, whatever is asked anew meanwhile.
	const text = typed ?? (schema && Object.keys(schema).length ? JSON.stringify(first(schema)) : "null");
	const act = async () => {
		if (kind === "answer") {
			await post("promises:answer", rejects ? { token: promise.token, reject: message } : `{"token": ${JSON.stringify(promise.token)}, "value": ${text}}`);
			say(`${promise.name} has its answer`);
		} else {
			const found = await post(`runs/${at(run.id)}:${kind}`, `{"name": ${JSON.stringify(name)}, "value": ${text}}`);
			if (kind === "update") say(found.pending ? "accepted; no answer yet" : `answer: ${JSON.stringify(found.answer).slice(0, 200)}`);
			else say(`${name} is sent`);
		}
	};
	const isReady = rejects ? message !== "" : !error && name !== "";
	return html`<${ActForm} verb=${kind === "answer" ? "Answer" : "Send"} onDo=${act} onDone=${close} isReady=${isReady}>
		${kind === "answer" ? html`<p>Run <span class="mono">${run.id}</span> waits at step ${promise.step} for <b>${promise.name}</b>.</p>
			<div class="choice" role="radiogroup" aria-label="How"><label><input type="radio" name="how" checked=${!rejects} onChange=${() => setRejects(false)} /> an answer</label><label><input type="radio" name="how" checked=${rejects} onChange=${() => setRejects(true)} /> say no</label></div>`
			: html`<${Field} label="Name" hint=${waited.length && kind === "signal" ? `it waits for ${waited.join(", ")}` : ""}><input type="text" list="declared" autofocus value=${name} onInput=${(event) => { setName(event.target.value); setError(""); }} /></${Field}><datalist id="declared">${[...new Set([...waited, ...declared.map((one) => one.name)])].map((one) => html`<option key=${one} value=${one} />`)}</datalist>`}
		${rejects ? html`<${Field} label="Message"><input type="text" value=${message} onInput=${(event) => setMessage(event.target.value)} /></${Field}>`
			: html`<${ValueForm} key=${name + JSON.stringify(schema)} label="Value" schema=${schema} text=${text} onChange=${(next, wrong) => { setTyped(next); setError(wrong); }} />`}</${ActForm}>`;
}

export const send = (run, kind, promise) => openDialog(kind === "answer" ? `Answer ${promise.name}` : `${kind === "signal" ? "Signal" : "Update"} ${run.id}`, (close) => html`<${SendForm} run=${run} kind=${kind} promise=${promise} close=${close} />`);

function QueryForm({ run, close }) {
	const declared = useDeclared("query");
	const [name, setName] = useState("");
	const [args, setArgs] = useState("[]");
	const [answer, setAnswer] = useState();
	const [error, setError] = useState(null);
	const [busy, setBusy] = useState(false);
	const query = async (event) => {
		event.preventDefault();
		setBusy(true); setError(null); setAnswer(undefined);
		try { setAnswer((await post(`runs/${at(run.id)}:query`, `{"name": ${JSON.stringify(name)}, "args": ${args}}`)).answer); } catch (failure) { setError(failure); }
		setBusy(false);
	};
	return html`<form onSubmit=${query}><p class="dim">The worker that serves the run answers, after the last committed event; nothing changes.</p>
		<${Field} label="Name"><input type="text" list="queries" autofocus value=${name} onInput=${(event) => setName(event.target.value)} /></${Field}><datalist id="queries">${declared.map((one) => html`<option key=${one.name} value=${one.name} />`)}</datalist>
		<${Field} label="Arguments" hint="a JSON list"><input type="text" class="mono" value=${args} onInput=${(event) => setArgs(event.target.value)} /></${Field}>
		<${Failure} error=${error} />${answer !== undefined && html`<div class="payload"><span class="label">answer</span><${Tree} value=${answer} /></div>`}
		<div class="actions"><${Button} onClick=${close}>Close<//><button class="main" disabled=${busy || !name}>${busy ? "…" : "Ask"}</button></div></form>`;
}

export const ask = (run) => openDialog(`Query ${run.id}`, (close) => html`<${QueryForm} run=${run} close=${close} />`);

// -- seeing --

export function Messages({ run, meta }) {
	if (!run.promises.length && !run.updates.length && !run.dead_letters.length) return html`<${Empty}><p>No update, no open promise, no dead letter.</p><p class="dim">Signals that it received are among its steps.</p></${Empty}>`;
	return html`${run.promises.length > 0 && html`<section><h2>Waits for an answer</h2><table class="plain"><thead><tr><th>What</th><th>Step</th><th>Token</th><td></td></tr></thead><tbody>${run.promises.map((one) => html`<tr key=${one.step}><td>${one.name}</td><td class="mono">${one.step}</td><td><${Copy} text=${one.token} label="copy the token" /></td>
			<td>${!meta?.is_read_only && html`<${Button} class="main" onClick=${() => send(run, "answer", one)}>Answer…<//>`}</td></tr>`)}</tbody></table></section>`}
		${run.updates.length > 0 && html`<section><h2>Updates</h2><table class="plain"><thead><tr><th>Name</th><th>Id</th><th>Status</th><th>Answered</th><th>Answer</th></tr></thead><tbody>${run.updates.map((one) => html`<tr key=${one.id}><td>${one.name}</td><td class="mono clip">${one.id}</td><td><${Status} of=${one.status} /></td><td><${Ago} time=${one.answered} /></td><td class="mono wrap">${one.error ? html`<span class="bad-text">${one.error}</span>` : one.answer.slice(0, 300)}</td></tr>`)}</tbody></table></section>`}
		${run.dead_letters.length > 0 && html`<section><h2>Dead letters</h2><p class="dim">Messages that it could not receive; nothing of them is lost.</p><table class="plain"><thead><tr><th>When</th><th>Signal</th><th>Why</th><th>What</th></tr></thead><tbody>${run.dead_letters.map((one, place) => html`<tr key=${place}><td><${Ago} time=${one.at} /></td><td>${one.name}</td><td class="wrap">${one.why}</td><td class="mono wrap">${one.payload.slice(0, 300)}</td></tr>`)}</tbody></table></section>`}`;
}

export function Values({ id, run }) {
	if (!run.values.length && !run.streams.length) return html`<${Empty}><p>It has published nothing.</p></${Empty}>`;
	return html`${run.values.map((one) => html`<div key=${one.name} class="value"><${Payload} label=${one.name} text=${one.value} /><span class="dim"><${Ago} time=${one.at} /></span></div>`)}
		${run.streams.map((one) => html`<${Stream} key=${one.name} id=${id} name=${one.name} count=${one.items} />`)}`;
}

function Stream({ id, name, count }) {
	const { data, error } = useLook(asked(`runs/${at(id)}/stream`, { name, limit: 100 }));
	const [older, setOlder] = useState([]);
	const begin = older[0]?.position ?? data?.items[0]?.position ?? 0;
	const page = async (from, to) => (await get(asked(`runs/${at(id)}/stream`, { name, from, limit: Math.max(1, to - from) }))).items;
	const more = async () => setOlder([...await page(Math.max(0, begin - 500), begin), ...older]);
	const last = older.at(-1)?.position ?? -1;
	const items = [...older, ...(data?.items || []).filter((one) => one.position > last)];
	const gap = older.length && data?.items[0]?.position > last + 1;
	// What came faster than it was asked for.
	useEffect(() => { if (gap) page(last + 1, Math.min(last + 501, data.items[0].position)).then((found) => setOlder([...older, ...found]), () => {}); }, [gap, last]);
	return html`<section class="stream"><h2>${name} <span class="dim">${plural(count, "item")}</span></h2><${Failure} error=${error} />
		${begin > 0 && html`<${Button} class="quiet" onClick=${more}>earlier…<//>`}
		<ol class="logs mono" start=${begin} aria-live="off">${items.map((one) => html`<li key=${one.position}><time class="dim" datetime=${one.at}>${clock(one.at)}</time> <span class="wrap">${shown(one.value)}</span></li>`)}</ol></section>`;
}

function shown(text) {
	const short = text.slice(0, 2000);
	if (!short.startsWith('"') || short.length < text.length) return short;
	try { return JSON.parse(short); } catch { return short; }
}
