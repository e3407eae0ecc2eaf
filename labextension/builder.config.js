// Numbers in the order of use: the builder's own depend on the folder that it is started in.
module.exports = { optimization: { moduleIds: 'natural', chunkIds: 'natural' } };
