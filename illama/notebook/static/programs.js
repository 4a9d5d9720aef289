// What to paste into other programs. The list is plain JSON, because `%illama openai` reads it from this file too.
// {url}, {key} and {model} are filled in; `code` is a list of lines.

/** @typedef {{ name: string, title: string, code: string[] }} Program */

/** @type {Program[]} */
export const PROGRAMS =
[
  {
    "name": "openai",
    "title": "The openai SDK",
    "code": [
      "from openai import OpenAI",
      "",
      "client = OpenAI(base_url=\"{url}\", api_key=\"{key}\")",
      "answer = client.chat.completions.create(model=\"{model}\", messages=[{\"role\": \"user\", \"content\": \"Hello!\"}])",
      "print(answer.choices[0].message.content)"
    ]
  },
  {
    "name": "langchain",
    "title": "LangChain (langchain-openai)",
    "code": [
      "from langchain_openai import ChatOpenAI",
      "",
      "model = ChatOpenAI(base_url=\"{url}\", api_key=\"{key}\", model=\"{model}\")",
      "print(model.invoke(\"Hello!\").content)"
    ]
  },
  {
    "name": "open-webui",
    "title": "Open WebUI",
    "code": [
      "export OPENAI_API_BASE_URL=\"{url}\" OPENAI_API_KEY=\"{key}\" ENABLE_OLLAMA_API=false",
      "export DEFAULT_MODEL_METADATA='{\"capabilities\": {\"builtin_tools\": false, \"usage\": true}}'",
      "open-webui serve"
    ]
  },
  {
    "name": "curl",
    "title": "curl",
    "code": [
      "curl {url}/chat/completions -H \"Authorization: Bearer {key}\" \\",
      "  -d '{\"model\": \"{model}\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}]}'"
    ]
  }
]
;

/** A program's text with what is filled in. @param {Program} program @param {Record<string, string>} values */
export function recipe(program, values) {
  return program.code.join("\n").replace(/\{(url|key|model)\}/g, (_, name) => values[name]);
}
