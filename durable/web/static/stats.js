// Stats: how many runs, how often they end, how long they take, how large the file is.
import { asked, useLook } from "./live.js";
import { Button, Empty, Failure, Loading, Status, bytes, duration, go, href, html, num, route } from "./parts.js";
import { Columns } from "./charts.js";

const SINCE = ["6h", "24h", "7d", "30d"];

export function Stats() {
	const since = route.value.query.get("since") || "24h";
	const by = route.value.query.get("by") || "workflow";
	// Every run is looked at once: not each second.
	const { data, error } = useLook(asked("stats", { since, by }), 10000);
	const pick = (changes) => go(["stats"], { since, by, ...changes });
	const most = Math.max(1, ...(data?.durations || []).map((one) => one.p95_us || 0));
	return html`<div class="page-head"><h1>Stats</h1><div class="chips" role="group" aria-label="Since">${SINCE.map((one) => html`<${Button} key=${one} class="chip" aria-pressed=${one === since} onClick=${() => pick({ since: one })}>${one}<//>`)}</div>
			<div class="chips" role="group" aria-label="By">${["workflow", "activity"].map((one) => html`<${Button} key=${one} class="chip" aria-pressed=${one === by} onClick=${() => pick({ by: one })}>by ${one}<//>`)}</div></div>
		<${Failure} error=${error} />${!data && !error && html`<${Loading} />`}
		${data && html`<div class="tiles">${Object.entries(data.runs).map(([status, count]) => html`<a class="tile" key=${status} href=${href([], { q: `status:${status}` })}><b>${num(count)}</b><${Status} of=${status} /></a>`)}</div>
			<section><h2>Ended by the hour</h2><${Columns} columns=${data.hours} parts=${[["completed", "completed", "good"], ["failed", "failed", "bad"]]} label="Runs that ended, by hour" /><p class="legend"><span class="key good"></span> completed <span class="key bad hatched"></span> failed</p></section>
			<section><h2>Started by the hour</h2><${Columns} columns=${data.hours} parts=${[["started", "started", "plain-bar"]]} label="Runs that started, by hour" /></section>
			<section><h2>How long ${by === "workflow" ? "runs" : "steps"} took</h2>${data.durations.length ? html`<div class="table-wrap"><table class="plain"><thead><tr><th>${by === "workflow" ? "Workflow" : "Activity"}</th><th class="num">Ended</th><th class="num">Failed</th><th class="num">p50</th><th class="num">p95</th><th class="wide"><span class="hidden">p50 and p95 as bars</span></th></tr></thead><tbody>${data.durations.map((one) => html`<tr key=${one.name}><td><a href=${href([], { q: by === "workflow" ? `workflow:${JSON.stringify(one.name)}` : `step:${JSON.stringify(one.name)}` })}>${one.name}</a></td><td class="num">${num(one.ended)}</td><td class=${"num" + (one.failed ? " bad-text" : "")}>${num(one.failed)}${one.ended ? html` <span class="dim">${((one.failed / one.ended) * 100).toFixed(one.failed && one.failed / one.ended < 0.01 ? 1 : 0)}%</span>` : ""}</td>
				<td class="num">${one.p50_us == null ? "–" : duration(one.p50_us / 1000)}</td><td class="num">${one.p95_us == null ? "–" : duration(one.p95_us / 1000)}</td><td class="wide"><svg class="range" viewBox="0 0 200 12" preserveAspectRatio="none" aria-hidden="true"><rect class="p95" x="0" y="3" width=${Math.max(1, ((one.p95_us || 0) / most) * 200)} height="6" /><rect class="p50" x="0" y="3" width=${Math.max(1, ((one.p50_us || 0) / most) * 200)} height="6" /></svg></td></tr>`)}</tbody></table></div>` : html`<${Empty}><p>Nothing ended since then.</p></${Empty}>`}</section>
			<section><h2>The file</h2><dl class="facts"><div><dt>file</dt><dd>${bytes(data.file_bytes)}</dd></div><div><dt>log</dt><dd>${bytes(data.wal_bytes)}</dd></div><div><dt>free in it</dt><dd>${bytes(data.free_bytes)}</dd></div><div><dt>large payloads</dt><dd>${bytes(data.blob_bytes)}</dd></div>${Object.entries(data.rows).map(([name, count]) => html`<div key=${name}><dt>${name}</dt><dd>${num(count)}</dd></div>`)}</dl></section>`}`;
}
