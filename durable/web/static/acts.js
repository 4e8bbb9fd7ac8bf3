// What can be done to runs: to one, to those selected, to all of a filter, to a group.
import { useState } from "./vendor/preact.js";
import { at, post } from "./live.js";
import { ActForm, Button, Field, OPEN, RunLink, Status, exactly, go, html, isOpen, num, openDialog, plural, say } from "./parts.js";

// What a verb is called, whether it is asked about, and what it comes to.
export const VERBS = {
	retry: { label: "Retry", done: "goes on", text: "It goes on from where it failed; a step that waits is tried now." },
	restart: { label: "Restart", done: "begins again", text: "A new ordinal does it again; what was stays as it is." },
	resume: { label: "Resume", done: "goes on", text: "It goes on." },
	pause: { label: "Pause", done: "is paused", text: "Attempts that run finish and are recorded; nothing new begins." },
	cancel: { label: "Cancel", done: "is asked to stop", text: "Its code is told to stop, and may clean up.", isDanger: true },
	terminate: { label: "Terminate", done: "is ended", text: "It ends now; none of its code runs any more, not even to clean up.", isDanger: true },
	remove: { label: "Delete", done: "is deleted", text: "The run and all it has is deleted. There is no way back.", isDanger: true },
};

export function verbsFor(status) {
	if (!isOpen(status)) return status === "completed" || status === "continued" ? ["restart", "remove"] : ["retry", "restart", "remove"];
	if (status === "paused") return ["resume", "restart", "cancel", "terminate"];
	const repair = status === "blocked" || status === "retrying" ? ["retry"] : [];
	return [...repair, "pause", "restart", "cancel", "terminate"];
}

export function Reason({ value, onInput }) {
	return html`<${Field} label="Why" hint="For the audit; may be left empty."><input type="text" value=${value} maxlength="500" onInput=${(event) => onInput(event.target.value)} /></${Field}>`;
}

function OneForm({ id, verb, close, extra, onAfter }) {
	const [reason, setReason] = useState("");
	const [anyway, setAnyway] = useState(false);
	const [children, setChildren] = useState(false);
	const words = VERBS[verb];
	const act = async () => {
		const body = { ...extra, ...(reason && { reason }), ...(anyway && { anyway }), ...(children && { children }) };
		const found = await post(`runs/${at(exactly(id))}:${verb}`, body);
		say(`${id} ${words.done}`);
		onAfter?.(found);
		if (verb === "remove") go([]);
		else if (found.run && found.run.id !== id) go(["runs", found.run.id]);
	};
	return html`<${ActForm} verb=${words.label} isDanger=${words.isDanger} onDo=${act} onDone=${close}>
		<p>${words.text}</p><p class="mono clip">${id}</p>
		${verb === "retry" && html`<label class="check"><input type="checkbox" checked=${anyway} onChange=${(event) => setAnyway(event.target.checked)} /> Also if steps completed after the failure (clean-up that was done)</label>`}
		${verb === "remove" && html`<label class="check"><input type="checkbox" checked=${children} onChange=${(event) => setChildren(event.target.checked)} /> The runs it started too</label>`}
		<${Reason} value=${reason} onInput=${setReason} /></${ActForm}>`;
}

export const actOnRun = (id, verb, extra, onAfter) => openDialog(`${VERBS[verb].label} ${id}`, (close) => html`<${OneForm} id=${id} verb=${verb} close=${close} extra=${extra} onAfter=${onAfter} />`);

// -- many --

function Many({ query, verb, close, onAfter }) {
	const [meant, setMeant] = useState(null);
	const [error, setError] = useState(null);
	const [reason, setReason] = useState("");
	const [place, setPlace] = useState("failed");
	const [asked, setAsked] = useState(false);
	const words = VERBS[verb];
	if (!asked) {
		setAsked(true);
		post("runs:bulk", { verb, q: query, dry_run: true }).then(setMeant, setError);
	}
	const act = async () => {
		const args = { ...(reason && { reason }), ...(verb === "restart" && { from: place }) };
		const found = await post("runs:bulk", { verb, q: query, args });
		say(`${words.label}: job ${found.job.id} works on ${plural(found.job.total, "run")}`);
		onAfter?.();
		go(["jobs", String(found.job.id)]);
	};
	if (error) return html`<p class="bad-text" role="alert">${error.message}</p><div class="actions"><${Button} onClick=${close}>Close<//></div>`;
	if (!meant) return html`<p role="status">Counting…</p>`;
	return html`<${ActForm} verb=${`${words.label} ${plural(meant.total, "run")}`} isDanger=${words.isDanger} onDo=${act} onDone=${close} isReady=${meant.total > 0}>
		<p><b>${plural(meant.total, "run")}</b> of <code class="wrap">${meant.query || "everything"}</code></p>
		<p class="dim">${Object.entries(meant.counts).map(([status, count]) => html`<span class="gap"><${Status} of=${status} /> ${num(count)}</span>`)}</p>
		<ul class="sample">${meant.first.slice(0, 5).map((one) => html`<li><${Status} of=${one.status} /> <${RunLink} id=${one.id} /> <span class="dim clip">${one.why}</span></li>`)}
		${meant.total > 5 && html`<li class="dim">and ${num(meant.total - 5)} more</li>`}</ul>
		<p>${words.text}</p>
		${verb === "restart" && html`<${Field} label="From" hint="start, failed, last, or the id or name of a step"><input type="text" value=${place} onInput=${(event) => setPlace(event.target.value)} /></${Field}>`}
		<${Reason} value=${reason} onInput=${setReason} /></${ActForm}>`;
}

export const actOnMany = (query, verb, onAfter) => openDialog(`${VERBS[verb].label} runs`, (close) => html`<${Many} query=${query} verb=${verb} close=${close} onAfter=${onAfter} />`);

// -- a step --

function PolicyForm({ id, step, close }) {
	const [given, setGiven] = useState({});
	const [reason, setReason] = useState("");
	const set = (name) => (event) => setGiven({ ...given, [name]: event.target.value });
	const act = async () => {
		const changes = {};
		for (const [name, text] of Object.entries(given)) {
			if (text.trim() === "") continue;
			if (name === "max_attempts" && text === "none") changes[name] = null;
			else if (name === "max_attempts" || name === "backoff") {
				changes[name] = Number(text);
				if (!Number.isFinite(changes[name])) throw new Error(`${text} is no number`);
			}
			else changes[name] = text === "none" ? null : text;
		}
		await post(`runs/${at(exactly(id))}:edit`, { step, changes, ...(reason && { reason }) });
		say(`step ${step} has another policy`);
	};
	const line = (name, label, hint) => html`<${Field} label=${label} hint=${hint}><input type="text" value=${given[name] || ""} onInput=${set(name)} /></${Field}>`;
	return html`<${ActForm} verb="Change" onDo=${act} onDone=${close} isReady=${Object.values(given).some((text) => text.trim())}>
		<p>What is left empty stays. It counts from the next attempt on.</p>
		<div class="columns">${line("max_attempts", "Attempts at most", "a number, or none for no limit")}${line("initial_interval", "First wait", "as in 5s")}
		${line("backoff", "Factor", "as in 2")}${line("max_interval", "Longest wait", "as in 10m")}
		${line("start_to_close", "One attempt at most", "as in 30s, or none")}${line("schedule_to_close", "All attempts at most", "as in 2h, or none")}
		${line("heartbeat", "Heartbeat within", "as in 10s, or none")}
		<${Field} label="When used up"><select onChange=${set("on_exhausted")}><option value="">stays</option><option>fail</option><option>pause</option></select></${Field}></div>
		<${Reason} value=${reason} onInput=${setReason} /></${ActForm}>`;
}

export const editPolicy = (id, step) => openDialog(`Policy of step ${step}`, (close) => html`<${PolicyForm} id=${id} step=${step} close=${close} />`);

function SkipForm({ id, step, close }) {
	const [how, setHow] = useState("skip");
	const [text, setText] = useState("null");
	const [message, setMessage] = useState("");
	const [reason, setReason] = useState("");
	const act = async () => {
		const body = how === "skip" ? `{"step": ${JSON.stringify(step)}, "output": ${text}, "reason": ${JSON.stringify(reason)}}`
			: { step, message, reason };
		await post(`runs/${at(exactly(id))}:${how}`, body);
		say(`step ${step} ended by hand`);
	};
	let isReady = how === "fail" ? message !== "" : true;
	if (how === "skip") try { JSON.parse(text); } catch { isReady = false; }
	return html`<${ActForm} verb="End the step" onDo=${act} onDone=${close} isReady=${isReady}>
		<div class="choice" role="radiogroup" aria-label="How"><label><input type="radio" name="how" checked=${how === "skip"} onChange=${() => setHow("skip")} /> with a result</label>
		<label><input type="radio" name="how" checked=${how === "fail"} onChange=${() => setHow("fail")} /> with a failure</label></div>
		${how === "skip" ? html`<${Field} label="Result" hint="JSON, as the step would have returned it"><textarea class="mono" rows="4" value=${text} onInput=${(event) => setText(event.target.value)}></textarea></${Field}>`
			: html`<${Field} label="Message"><input type="text" value=${message} onInput=${(event) => setMessage(event.target.value)} /></${Field}>`}
		<${Reason} value=${reason} onInput=${setReason} /></${ActForm}>`;
}

export const endStep = (id, step) => openDialog(`End step ${step} by hand`, (close) => html`<${SkipForm} id=${id} step=${step} close=${close} />`);

function AcceptForm({ id, step, close }) {
	const [reason, setReason] = useState("");
	return html`<${ActForm} verb="Accept" onDo=${async () => { await post(`runs/${at(exactly(id))}:accept`, { step, ...(reason && { reason }) }); say(`step ${step} passes as it is`); }} onDone=${close}>
		<p>The recorded result of step ${step} passes although its arguments changed, and the run goes on.</p><${Reason} value=${reason} onInput=${setReason} /></${ActForm}>`;
}

export const acceptStep = (id, step) => openDialog(`Accept step ${step}`, (close) => html`<${AcceptForm} id=${id} step=${step} close=${close} />`);

export const bulkVerbs = (counts) => {
	const statuses = Object.keys(counts || {});
	const open = statuses.some((one) => OPEN.includes(one));
	const closed = statuses.some((one) => !OPEN.includes(one));
	return ["retry", "restart", ...(open ? ["pause", "resume", "cancel", "terminate"] : []), ...(closed ? ["remove"] : [])];
};
