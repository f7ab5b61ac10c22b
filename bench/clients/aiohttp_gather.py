# The usual recipe: one session, a semaphore, and gather. Prints CPU seconds and seconds.
#
#   aiohttp_gather.py URL REQUESTS CONCURRENCY

import asyncio
import sys
import time

import aiohttp

URL, REQUESTS, CONCURRENCY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def payload(i):
    return {
        "model": "stand-in",
        "messages": [
            {"role": "system", "content": "You label product reviews as positive or negative."},
            {"role": "user", "content": "Review %06d: works well, came in time, and the box was "
                                        "not even dented; would buy again." % i},
        ],
        "temperature": 0, "max_tokens": 16,
    }


async def call(session, semaphore, i):
    async with semaphore:
        async with session.post(URL, json=payload(i)) as response:
            response.raise_for_status()
            answer = await response.json()
            return answer["choices"][0]["message"]["content"]


async def main():
    semaphore = asyncio.Semaphore(CONCURRENCY)
    async with aiohttp.ClientSession() as session:
        return await asyncio.gather(*(call(session, semaphore, i) for i in range(REQUESTS)))


began, cpu = time.monotonic(), time.process_time()
texts = asyncio.run(main())
assert len(texts) == REQUESTS and all(texts)
print(time.process_time() - cpu, time.monotonic() - began)
