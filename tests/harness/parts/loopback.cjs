// Loaded before servers that listen on all interfaces and cannot be told otherwise: they listen on 127.0.0.1.
"use strict";

const { Server } = require("node:net");
const listen = Server.prototype.listen;

Server.prototype.listen = function (...given) {
  const callback = given.find((argument) => typeof argument === "function");
  const [first, second] = given;
  let options;
  if (typeof first === "object" && first !== null) {
    options = { ...first };
  } else {
    options = { port: Number(first), backlog: given.slice(1).find((argument) => typeof argument === "number") };
    if (typeof second === "string") options.host = second;
  }
  if (options.port !== undefined) options.host = "127.0.0.1";
  return callback === undefined ? listen.call(this, options) : listen.call(this, options, callback);
};
