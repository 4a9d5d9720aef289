// The official `openai` package for Node. Run by tests/long/clients.py in a folder that has it installed.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const { REAL_URL, REAL_KEY, REAL_CHAT: model, REAL_EMBED } = process.env;
const client = new OpenAI({ baseURL: `${REAL_URL}/v1`, apiKey: REAL_KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France? Answer in one sentence." }];
const parameters = {
  type: "object",
  properties: { city: { type: "string", enum: ["Paris", "Rome"] } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "weather", description: "The weather in a city", parameters } }];

test("whole", async () => {
  const answer = await client.chat.completions.create({ model, messages, temperature: 0, max_tokens: 24 });
  assert.match(answer.choices[0].message.content, /Paris/);
});

test("streamed", async () => {
  let text = "";
  for await (const chunk of await client.chat.completions.create({
    model, messages, temperature: 0, max_tokens: 24, stream: true, stream_options: { include_usage: true },
  })) text += chunk.choices[0]?.delta?.content ?? "";
  assert.match(text, /Paris/);
});

test("structured", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "city", strict: true, schema: parameters } };
  const answer = await client.chat.completions.parse({ model, messages, response_format, max_tokens: 100 });
  assert.deepEqual(Object.keys(answer.choices[0].message.parsed ?? JSON.parse(answer.choices[0].message.content)), ["city"]);
});

test("a required tool, streamed", async () => {
  const stream = client.chat.completions.stream({ model, messages, tools, tool_choice: "required", max_tokens: 100 });
  const final = await stream.finalChatCompletion();
  const [call] = final.choices[0].message.tool_calls;
  assert.equal(call.function.name, "weather");
  assert.ok(["Paris", "Rome"].includes(JSON.parse(call.function.arguments).city));
});

test("embeddings", async () => {
  const { data } = await client.embeddings.create({ model: REAL_EMBED, input: ["a cat", "a kitten", "a bank"] });
  const [cat, kitten, bank] = data.map((each) => each.embedding);
  const dot = (one, other) => one.reduce((sum, value, at) => sum + value * other[at], 0);
  assert.ok(dot(cat, kitten) > dot(cat, bank));
});

test("errors are the package's own", async () => {
  await assert.rejects(client.chat.completions.create({ model: "nobody", messages }), OpenAI.NotFoundError);
});
