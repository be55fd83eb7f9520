const words = require("fs").readFileSync(0, "utf8").split(/\s+/);
let sum = 0n;
for (let i = 1; i <= Number(words[0]); i++) sum += BigInt(words[i]);
console.log(sum.toString());
