// Jobs: acts on many runs, done by the engines in chunks, and how far they are.
import { useState } from "./vendor/preact.js";
import { asked, post, useLook, useMeta } from "./live.js";
import { Ago, Button, Empty, Failure, Loading, RunLink, Status, href, html, num, say } from "./parts.js";

const Progress = ({ job }) => html`<div class="progress" role="progressbar" aria-valuemin="0" aria-valuemax=${job.total} aria-valuenow=${job.done + job.refused} aria-label=${`Job ${job.id}`}>
	<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect class="good" width=${job.total ? (job.done / job.total) * 100 : 100} height="1" /><rect class="bad" x=${job.total ? (job.done / job.total) * 100 : 100} width=${job.total ? (job.refused / job.total) * 100 : 0} height="1" /></svg></div>`;

const words = (job) => html`<b>${job.verb}</b> <code class="wrap">${job.query}</code>`;

export function Jobs() {
	const { data, error } = useLook(asked("jobs", { limit: 100 }));
	if (error && !data) return html`<${Failure} error=${error} />`;
	if (!data) return html`<${Loading} />`;
	return html`<div class="page-head"><h1>Jobs</h1></div>${data.items.length === 0 ? html`<${Empty}><p>Nothing was done to many runs at once yet.</p><p class="dim">Select runs in the list, or act on a whole issue.</p></${Empty}>` : html`<div class="table-wrap"><table class="plain"><thead><tr><th>Job</th><th>Status</th><th>What</th><th>Progress</th><th class="num">Done</th><th class="num">Refused</th><th>Who</th><th>When</th></tr></thead><tbody>${data.items.map((job) => html`<tr key=${job.id}><td><a href=${href(["jobs", String(job.id)])}>${job.id}</a></td><td><${Status} of=${job.state} /></td><td>${words(job)}</td><td><${Progress} job=${job} /></td><td class="num">${num(job.done)}</td><td class="num">${num(job.refused)}</td><td class="mono">${job.who}</td><td><${Ago} time=${job.created} /></td></tr>`)}</tbody></table></div>`}`;
}

export function Job({ id }) {
	const { data: job, error } = useLook(`jobs/${id}`);
	const meta = useMeta();
	const [problem, setProblem] = useState(null);
	if (error && !job) return html`<${Failure} error=${error} />`;
	if (!job) return html`<${Loading} />`;
	const stop = async () => { try { await post(`jobs/${id}:stop`); say(`job ${id} is stopped`); } catch (failure) { setProblem(failure); } };
	return html`<div class="page-head"><h1>Job ${job.id}: ${job.verb}</h1></div><p>${words(job)}</p>
		<p aria-live="polite"><${Status} of=${job.state} /> <b>${num(job.done + job.refused)}</b> of ${num(job.total)}${job.refused > 0 && html`, <span class="bad-text">${num(job.refused)} refused</span>`} <span class="dim">by ${job.who}, <${Ago} time=${job.created} /></span></p><${Progress} job=${job} />
		${job.why && html`<p class="dim">${job.why}</p>`}<${Failure} error=${problem} />
		<div class="buttons">${job.state === "running" && !meta?.is_read_only && html`<${Button} onClick=${stop}>Stop<//>`}<a class="button" href=${href([], { q: job.query })}>Runs of its filter</a></div>
		${meta && meta.workers === 0 && job.state === "running" && html`<p class="banner warn">It is done by an engine, and none lives; it begins with the next one.</p>`}
		${Object.keys(job.refusals).length > 0 && html`<section><h2>Refused</h2><table class="plain"><tbody>${Object.entries(job.refusals).map(([run, why]) => html`<tr key=${run}><td><${RunLink} id=${run} /></td><td class="wrap">${why}</td></tr>`)}</tbody></table></section>`}`;
}
