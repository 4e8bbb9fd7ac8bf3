// Workers and queues: who serves the file, and what is paused as a whole.
import { useState } from "./vendor/preact.js";
import { post, useLook, useMeta } from "./live.js";
import { Reason } from "./acts.js";
import { ActForm, Ago, Button, Empty, Failure, Loading, Status, go, href, html, num, openDialog, say } from "./parts.js";

function HoldForm({ kind, name, verb, close }) {
	const [reason, setReason] = useState("");
	const act = async () => {
		const found = await post(`holds:${verb}`, { kind, name, ...(reason && { reason }) });
		say(`${kind} ${name}: ${verb}`);
		go(["jobs", String(found.job.id)]);
	};
	return html`<${ActForm} verb=${verb === "pause" ? "Pause" : "Resume"} onDo=${act} onDone=${close}><p>${verb === "pause" ? `Open runs of ${kind} ${name} are paused, and new ones from the first.` : `Runs that were paused with ${kind} ${name} go on; those paused one by one stay so.`}</p>
		<${Reason} value=${reason} onInput=${setReason} /></${ActForm}>`;
}
const hold = (kind, name, verb) => openDialog(`${verb === "pause" ? "Pause" : "Resume"} ${kind} ${name}`, (close) => html`<${HoldForm} kind=${kind} name=${name} verb=${verb} close=${close} />`);

export function Workers() {
	const { data, error } = useLook("workers");
	const holds = useLook("holds").data?.items || [];
	const forms = useLook("forms", 10000).data;
	const meta = useMeta();
	if (error && !data) return html`<${Failure} error=${error} />`;
	if (!data) return html`<${Loading} />`;
	const can = !meta?.is_read_only;
	const held = (kind, name) => holds.find((one) => one.kind === kind && one.name === name);
	const button = (kind, name) => can && (held(kind, name) ? html`<${Button} class="main" onClick=${() => hold(kind, name, "resume")}>Resume<//>` : html`<${Button} onClick=${() => hold(kind, name, "pause")}>Pause…<//>`);
	const served = new Set(data.items.filter((one) => one.is_alive).flatMap((one) => one.workflows));
	return html`<div class="page-head"><h1>Workers and queues</h1></div>
		<section><h2>Workers</h2>${data.items.length === 0 ? html`<${Empty}><p>No worker serves this file.</p><p class="dim">One begins with <code>durable worker APP:ENGINE</code>, or when a program enters its engine.</p></${Empty}>`
			: html`<div class="table-wrap"><table class="plain"><thead><tr><th>Worker</th><th>Status</th><th>Process</th><th>Since</th><th class="num">Runs in hand</th><th>Workflows</th></tr></thead><tbody>${data.items.map((one) => html`<tr key=${one.id}><td class="mono"><a href=${href([], { q: `worker:${one.id}` })}>${one.id}</a></td><td><${Status} of=${one.is_alive ? "running" : "abandoned"} />${one.is_alive ? "" : html` <span class="dim">died; the next one takes its runs over</span>`}</td><td class="mono">${one.host}:${one.pid}</td><td><${Ago} time=${one.started} /></td><td class="num">${num(one.runs)}</td><td class="wrap">${one.workflows.join(", ")}</td></tr>`)}</tbody></table></div>`}</section>
		<section><h2>Queues</h2>${data.queues.length === 0 ? html`<p class="dim">No run could go on now.</p>` : html`<table class="plain"><thead><tr><th>Queue</th><th class="num">Wait for a worker</th><th class="num">In hand</th><td></td></tr></thead><tbody>${data.queues.map((one) => html`<tr key=${one.name}><td><a href=${href([], { q: `queue:${JSON.stringify(one.name)}` })}>${one.name}</a> ${one.is_held && html`<${Status} of="paused" />`}</td><td class="num">${num(one.queued)}</td><td class="num">${num(one.in_hand)}</td><td>${button("queue", one.name)}</td></tr>`)}</tbody></table>`}</section>
		<section><h2>Workflows</h2>${forms?.workflows.length ? html`<table class="plain"><thead><tr><th>Workflow</th><th>Served</th><td></td></tr></thead><tbody>${forms.workflows.map((one) => html`<tr key=${one.name}><td><a href=${href([], { q: `workflow:${JSON.stringify(one.name)}` })}>${one.name}</a> ${held("workflow", one.name) && html`<${Status} of="paused" /> <span class="dim">${held("workflow", one.name).why}</span>`}</td><td>${served.has(one.name) ? "yes" : html`<span class="dim">by no living worker</span>`}</td><td>${button("workflow", one.name)}</td></tr>`)}</tbody></table>` : html`<p class="dim">None yet.</p>`}</section>`;
}
