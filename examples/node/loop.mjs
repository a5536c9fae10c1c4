// The whole loop with the plain `openai` npm package: upload, train, follow, chat.
//
// node loop.mjs [FILE.jsonl] [BRAND]   with OPENAI_BASE_URL and OPENAI_API_KEY set.
// BASE_MODEL (default `tiny`) and QUESTION are read from the environment too.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import OpenAI from 'openai';

const ENDED = ['succeeded', 'failed', 'cancelled'];
const client = new OpenAI();

async function upload(file) {
  const uploaded = await client.files.create({ file: fs.createReadStream(file), purpose: 'fine-tune' });
  console.log(`uploaded ${path.basename(file)} as ${uploaded.id}`);
  return uploaded.id;
}

// Prints the job's events until it has ended; resolves to the fine-tuned model's name.
async function follow(jobId) {
  const seen = new Set();
  for (;;) {
    const job = await client.fineTuning.jobs.retrieve(jobId);
    const events = await client.fineTuning.jobs.listEvents(jobId, { limit: 100 });
    for (const event of events.data.reverse().filter((each) => !seen.has(each.id))) {
      seen.add(event.id);
      console.log(`  ${event.level}: ${event.message}`);
    }
    if (ENDED.includes(job.status)) {
      if (!job.fine_tuned_model) {
        throw new Error(`job ${jobId} ${job.status}: ${job.error?.message ?? 'no reason given'}`);
      }
      return job.fine_tuned_model;
    }
    await pause(500);
  }
}

async function chat(model, message) {
  process.stdout.write(`${model} answers: `);
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: 'user', content: message }],
    max_tokens: 128,
    temperature: 0,
    stream: true,
  });
  for await (const chunk of stream) {
    process.stdout.write(chunk.choices[0]?.delta?.content ?? '');
  }
  process.stdout.write('\n');
}

const [file = 'build/brands/luxe.train.jsonl', brand = 'luxe'] = process.argv.slice(2);
const question =
  process.env.QUESTION ?? "Hi, I'm Marta Velasco. My order 48213, the linen scarf, arrived torn.";

try {
  const job = await client.fineTuning.jobs.create({
    model: process.env.BASE_MODEL ?? 'tiny',
    training_file: await upload(file),
    suffix: brand,
  });
  console.log(`created ${job.id} for brand ${brand}`);
  await chat(await follow(job.id), question);
  await chat(brand, question);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
