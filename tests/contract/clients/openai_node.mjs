// The openai client for node.
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const [url, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const asked = { model: "champion", messages: [{ role: "user", content: "碘片什么时候服用？" }] };
const parameters = { type: "object", properties: { place: { type: "string" } } };
const tools = ["dose", "wind"].map((name) => ({ type: "function", function: { name, parameters } }));
const check = (holds, what) => {
  if (!holds) throw new Error(what);
};
const chat = async () => check((await client.chat.completions.create(asked)).choices[0].message.content, "no content");
const features = {
  chat,
  two_turns: async () => {
    const first = (await client.chat.completions.create(asked)).choices[0].message;
    const messages = [...asked.messages, first, { role: "user", content: "然后？" }];
    check((await client.chat.completions.create({ ...asked, messages })).choices[0].message.content, "no content");
  },
  streaming_with_usage: async () => {
    const stream = await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
    let last;
    for await (const chunk of stream) last = chunk;
    check(last.usage.completion_tokens === 5, "no usage");
  },
  tool_loop: async () => {
    const messages = [{ role: "user", content: "both, please" }];
    const { message } = (await client.chat.completions.create({ ...asked, messages, tools })).choices[0];
    check(message.tool_calls.length === 2, "not two calls");
    messages.push(message, ...message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "20" })));
    check((await client.chat.completions.create({ ...asked, messages, tools })).choices[0].message.content, "no content");
  },
  streamed_tool_calls: async () => {
    const stream = client.chat.completions.stream({ ...asked, messages: [{ role: "user", content: "both" }], tools });
    check((await stream.finalMessage()).tool_calls.length === 2, "not two calls");
  },
  structured_output: async () => {
    const schema = { type: "object", properties: { mSv: { type: "integer" } }, required: ["mSv"], additionalProperties: false };
    const response_format = { type: "json_schema", json_schema: { name: "dose", strict: true, schema } };
    const { message } = (await client.chat.completions.parse({ ...asked, response_format })).choices[0];
    check(message.parsed.mSv === 20, "not parsed");
  },
  cancellation: async () => {
    const stream = await client.chat.completions.create({ ...asked, stream: true });
    for await (const _ of stream) break;
    await chat();
  },
  responses: async () => check((await client.responses.create({ model: "champion", input: "碘片？" })).output_text, "no text"),
};
const found = {};
for (const [name, feature] of Object.entries(features)) {
  try {
    await feature();
    found[name] = "ok";
  } catch (error) {
    found[name] = String(error).slice(0, 300);
  }
}
const { version } = JSON.parse(readFileSync(new URL("node_modules/openai/package.json", import.meta.url)));
console.log(JSON.stringify({ version, features: found }));
