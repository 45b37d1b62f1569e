// `make key`: prints the service key of the development server.
import { serviceKey } from "./dev-vars.mjs";

console.log(serviceKey());
