// A Worker of somebody else. It pushes by the queue and through a service binding, as docs/queue.md says; queue.test.mjs asks it to.
export default {
  async fetch(request, env) {
    switch (new URL(request.url).pathname) {
      // The body lists messages: `json` is sent as an object, `text` as it is, `bytes` as the bytes of a text.
      case "/send": {
        const messages = await request.json();
        await env.DORMOUSE_PUSHES.sendBatch(messages.map(message));
        return new Response(null, { status: 204 });
      }
      case "/push": {
        const { authorization, push } = await request.json();
        return env.DORMOUSE.fetch("https://dormouse/v1/notifications", {
          method: "POST",
          headers: { authorization, "content-type": "application/json" },
          body: JSON.stringify(push),
        });
      }
      default:
        return new Response(null, { status: 404 });
    }
  },
};

function message({ json, text, bytes }) {
  if (text !== undefined) return { body: text, contentType: "text" };
  if (bytes !== undefined) return { body: new TextEncoder().encode(bytes), contentType: "bytes" };
  return { body: json, contentType: "json" };
}
