// Restart from any point: with other arguments, with other results, messages and children by choice.
import { useState } from "./vendor/preact.js";
import { asked, at, getText, post, useLook } from "./live.js";
import { ActForm, Button, Field, exactly, go, html, openDialog, plural, say } from "./parts.js";
import { JsonEditor, check, indented } from "./forms.js";
import { payloadOf } from "./payload.js";
import { Reason } from "./acts.js";

const CUT = /\.\.\. \([\d,]+ bytes\)$/;

function RestartForm({ run, step, close }) {
	const me = exactly(run.id);
	const isStep = step && typeof step === "object";
	const named = isStep ? step.step || `event:${step.seq}` : step || "";
	const [place, setPlace] = useState(named ? (isStep && step.seq ? "here" : named) : run.status === "failed" ? "failed" : "start");
	const [typed, setTyped] = useState(named);
	const [input, setInput] = useState(null);
	const [output, setOutput] = useState(null);
	const [messages, setMessages] = useState("keep");
	const [children, setChildren] = useState("");
	const [again, setAgain] = useState("");
	const [reason, setReason] = useState("");
	const counts = useLook(asked("counts", { q: `id:${JSON.stringify(me)} status:open` }), 0);
	const from = place === "here" ? (isStep && step.kind === "activity" ? step.step : `event:${step.seq}`) : place === "other" ? typed : place;
	const bad = (input != null && check(input).error) || (output != null && check(output).error) || (!from && "where from?");
	const isOpenRun = (counts.data?.total || 0) > 0;
	const editInput = async () => {
		try { setInput(indented(CUT.test(run.arguments) ? await getText(payloadOf(me, "arguments")) : run.arguments)); } catch (error) { say(error.message, "bad"); }
	};
	const editOutput = async () => {
		const had = ["completed", "resolved"].includes(step.status);
		try { setOutput(had ? indented(await getText(payloadOf(me, "result", step.seq))) : "null"); } catch (error) { say(error.message, "bad"); }
	};
	const act = async () => {
		const parts = [`"from": ${JSON.stringify(from)}`, `"messages": ${JSON.stringify(messages)}`];
		if (children) parts.push(`"children": ${JSON.stringify(children)}`);
		if (input != null) parts.push(`"input": ${input}`);
		if (output != null) parts.push(`"outputs": {${JSON.stringify(step.step)}: ${output}}`);
		if (again.trim()) parts.push(`"again": ${JSON.stringify(again.split(/[\s,]+/).filter(Boolean))}`);
		if (reason) parts.push(`"reason": ${JSON.stringify(reason)}`);
		const found = await post(`runs/${at(me)}:restart`, `{${parts.join(", ")}}`);
		say(`${found.run.id} begins`);
		go(["runs", found.run.id]);
	};
	const choice = (value, label) => html`<label><input type="radio" name="from" checked=${place === value} onChange=${() => setPlace(value)} /> ${label}</label>`;
	return html`<${ActForm} verb="Restart" onDo=${act} onDone=${close} isReady=${!bad}>
		<p>What was recorded before the place is kept; the rest is done by today's code, as a new ordinal. <span class="mono">${run.id}</span> stays as it is${isOpenRun ? ", and is ended first" : ""}.</p>
		<div class="choice column" role="radiogroup" aria-label="From">
			${isStep && step.seq && choice("here", html`this step: <b class="mono">${step.step}</b> ${step.name} is done again`)}
			${run.status === "failed" && choice("failed", "where it failed")}${choice("start", "the start")}${choice("last", "the last step that ended")}
			${choice("other", html`<span>a step, by its id or name, or event:N</span>`)}
			${place === "other" && html`<input type="text" class="mono" aria-label="Step" value=${typed} placeholder="charge, 2/1.3 or event:17" onInput=${(event) => setTyped(event.target.value)} />`}</div>
		${input == null ? html`<${Button} onClick=${editInput}>Other arguments…<//>` : html`<${JsonEditor} label="Arguments" text=${input} onText=${setInput} rows=${6} hint=${'A list, or {"args": [...], "kwargs": {...}}. Recorded steps are kept all the same.'} />`}
		${isStep && step.seq && ["activity", "child", "promise"].includes(step.kind) && (output == null ? html`<${Button} onClick=${editOutput}>Another result of step ${step.step}…<//>`
			: html`<${JsonEditor} label=${`Result of step ${step.step}`} text=${output} onText=${setOutput} hint="The step is not done again: it is taken to have returned this." />`)}
		<details><summary>Messages, children, at-most-once steps</summary>
			<${Field} label="Signals, updates and answers of after the place"><select value=${messages} onChange=${(event) => setMessages(event.target.value)}><option value="keep">are said again</option><option value="drop">are dropped</option></select></${Field}>
			<${Field} label=${`Children of after the place (${plural(run.children.length, "child", "children")})`}><select value=${children} onChange=${(event) => setChildren(event.target.value)}><option value="">as usual: from the start again, else kept</option><option value="keep">are found as they are</option><option value="again">are started again</option></select></${Field}>
			<${Field} label="At-most-once steps that may be done again" hint="Their ids"><input type="text" class="mono" value=${again} onInput=${(event) => setAgain(event.target.value)} /></${Field}></details>
		<${Reason} value=${reason} onInput=${setReason} /></${ActForm}>`;
}

export const restart = (run, step) => openDialog(`Restart ${run.id}`, (close) => html`<${RestartForm} run=${run} step=${step} close=${close} />`, true);
