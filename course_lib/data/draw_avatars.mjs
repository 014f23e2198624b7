// One JSON object with the options of a face a line in, one SVG a line out.  Called by build_avatars.py.
import { createInterface } from "node:readline";
import { createAvatar } from "@dicebear/core";
import * as style from "@dicebear/pixel-art";

for await (const line of createInterface({ input: process.stdin }))
  console.log(createAvatar(style, JSON.parse(line)).toString());
